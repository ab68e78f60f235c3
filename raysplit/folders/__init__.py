"""The folders that runs, builds and searches write their results to."""
