"""The `raysplit` command."""
