"""`jenga tune`: a search over settings, of which every trial is an ordinary run."""
