"""What crosses between a device and a server: levels, messages, and the HTTP side of inference."""
