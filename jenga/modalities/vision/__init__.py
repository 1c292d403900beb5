"""Pictures: pixels as an encoder of timm or transformers reads them."""
