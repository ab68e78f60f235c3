"""The Open Inference Protocol v2: names and metadata (`protocol`), requests (`request`), responses (`response`)."""
