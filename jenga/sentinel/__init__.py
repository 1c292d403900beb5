"""The security sentinel in training: what looks for harm, what it sets aside, and where a run can go back to."""
