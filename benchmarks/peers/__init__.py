"""The same work by what people use today, side by side: see `__main__`."""
