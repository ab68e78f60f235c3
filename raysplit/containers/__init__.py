"""From a bundle to containers: an image for each part, a compose file, and manifests for Kubernetes with KubeRay."""
