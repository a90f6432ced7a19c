"""One endpoint, from its answer to readings."""
