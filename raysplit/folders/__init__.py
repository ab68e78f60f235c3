"""The folders that runs, builds and searches leave behind."""
