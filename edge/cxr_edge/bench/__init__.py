"""Benchmarks of this machine: what ``cxr-edge bench`` does."""
