"""What has nothing to do with networks: storage, bundles, settings, user code."""
