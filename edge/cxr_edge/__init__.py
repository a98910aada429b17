"""Explained chest-X-ray classification on ONNX Runtime."""

__version__ = "0.1.0"
