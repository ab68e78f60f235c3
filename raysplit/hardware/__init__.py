"""Links and machines as numbers."""
