"""Keras models to cxr-edge bundles."""
