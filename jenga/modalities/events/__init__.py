"""Events: features by the Security Refinery, and networks over them."""
