"""From readings to submissions: increments, validation, distributions, and what outlasts a restart."""
