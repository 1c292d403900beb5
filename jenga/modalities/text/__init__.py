"""Texts: tokens by a tokenizer, encoders and language models of transformers."""
