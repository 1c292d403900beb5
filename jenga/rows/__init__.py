"""Rows with names, numbers and labels: read from files, parsed, split, and laid in batches."""
