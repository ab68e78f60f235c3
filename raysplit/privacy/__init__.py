"""What a run gives away: how well images can be rebuilt from the activations that crossed (docs/privacy.md)."""
