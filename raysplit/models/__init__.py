"""Models by name: ours for small images, torchvision's, timm's, or a user's own function."""

from raysplit.models.build import OWN, build
from raysplit.models.vgg import VGG

__all__ = ["OWN", "VGG", "build"]
