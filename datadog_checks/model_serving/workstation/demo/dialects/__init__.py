"""One module per serving system: what the system counts, and how it prints that."""
