"""LIME on ONNX Runtime: the package's own computation in batches, and a faster one that says how stable it is."""
