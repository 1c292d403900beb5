"""Configuration: the schema, reading YAML with places, and writing it back."""
