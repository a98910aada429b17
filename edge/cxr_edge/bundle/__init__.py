"""A folder → an opened bundle: its manifest, its files and their hashes."""
