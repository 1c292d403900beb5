"""Sound: recordings as the features that an encoder of transformers reads."""
