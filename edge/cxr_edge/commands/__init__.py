"""The commands of cxr-edge, one file each."""
