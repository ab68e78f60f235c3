"""Networks that sub-models can be cut out of."""
