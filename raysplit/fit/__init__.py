"""Training one network, or a half of one: optimisers, seeds, and a plain loop."""
