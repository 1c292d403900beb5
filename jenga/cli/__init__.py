"""The command line. Nothing here imports torch, or anything else that is slow, before a command runs."""
