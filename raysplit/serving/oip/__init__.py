"""The Open Inference Protocol v2: what models say of themselves, requests and responses."""
