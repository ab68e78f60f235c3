"""The `raysplit` command: one file per verb, and what the jobs' command lines share."""
