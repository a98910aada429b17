"""A file → a radiograph: files found in folders, pictures and DICOM decoded, and what speaks against their quality."""
