"""Sub-models: one network split into small experts, and the fusion of their answers."""
