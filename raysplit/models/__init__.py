"""Networks: the package's own for small images, torchvision's, timm's, a user's function, or a module in memory."""

from raysplit.models.build import OWN, build
from raysplit.models.vgg import VGG

__all__ = ["OWN", "VGG", "build"]
