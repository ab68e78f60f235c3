"""A device outside the cluster: it dials out to a gateway and trains its half of a run. No Ray in here."""
