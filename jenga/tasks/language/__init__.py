"""Language modelling: the next token, its settings, its short form of an experiment, and answers judged."""
