"""What all applications share over HTTP: access, bodies, images, telemetry."""
