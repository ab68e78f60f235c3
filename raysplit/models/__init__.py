"""Networks: the package's own for small images, torchvision's, timm's, a user's function, or a module in memory."""

from raysplit.models.build import OWN, PRUNABLE, build
from raysplit.models.pretrained import read_normalization
from raysplit.models.resnet9 import ResNet9
from raysplit.models.vgg import VGG
from raysplit.models.weights import StartWeights, read_start_weights

__all__ = ["OWN", "PRUNABLE", "VGG", "ResNet9", "StartWeights", "build", "read_normalization", "read_start_weights"]
