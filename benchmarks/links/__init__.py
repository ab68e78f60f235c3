"""Network namespaces with rate-limited links between them, and what is captured there."""
