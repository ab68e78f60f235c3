"""Ensembles and split networks as applications of Ray Serve."""
