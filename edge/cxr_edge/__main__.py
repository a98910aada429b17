"""``python -m cxr_edge``."""

from cxr_edge.cli import main

main()
