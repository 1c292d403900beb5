"""A trained model behind HTTP: what `jenga serve` runs."""
