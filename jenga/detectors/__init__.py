"""What is wrong with rows, found in arrays and lists of tokens alone: pure functions that know no model and no file."""
