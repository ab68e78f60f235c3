"""What all applications share over HTTP: authentication, bodies, images, telemetry."""
