"""What is wrong with the rows of an experiment, told before it is trained."""
