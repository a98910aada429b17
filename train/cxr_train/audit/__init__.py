"""The audit: what a reviewer asks of a bundle, measured on its ONNX graphs and shown on one page.

Each module measures one thing and gives it as frozen dataclasses; `page` shows what was measured from the written
``audit.json`` alone, so that several audits can stand side by side.
"""
