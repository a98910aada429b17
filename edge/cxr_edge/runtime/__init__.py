"""A network's bytes → a session: ONNX Runtime, its providers, and the machine that it may use."""
