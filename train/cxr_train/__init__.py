"""Folders of radiographs to trained, evaluated Keras models."""
