"""The local page: radiographs that somebody drops on it are answered in memory, and nothing is kept."""
