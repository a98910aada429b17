"""What became of an input: outcomes, their records, and the journal of a scan. Needs no ONNX Runtime."""
