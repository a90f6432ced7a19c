"""Which versions of models can be unloaded: what is loaded, against who calls it."""
