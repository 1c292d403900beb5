"""From files to batches: reading, label spaces, splits, tokens."""
