"""Ensembles and split networks as Ray Serve applications.

`args` (settings) → `http`, `oip` (requests and responses) → `ensemble`, `split` (the applications), `check` (Serve
configs).
"""
