"""The record of an attack: `leak.json`."""

from __future__ import annotations

from raysplit.utils.frozen import Record


class Similarity(Record):
    """How alike rebuilt images are to the originals, means over images.

    >>> print(Similarity(psnr=21.53, ssim=0.704))
    PSNR 21.5 dB, SSIM 0.70
    """

    psnr: float
    """Peak signal-to-noise ratio, in dB."""
    ssim: float
    """Structural similarity: 1 for equal images."""

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.1f} dB, SSIM {self.ssim:.2f}"


class LevelLeak(Record):
    """What was rebuilt from the activations of one level."""

    level: str
    """As it prints: `c4·b4/b4·zstd`."""
    accuracy: float
    """The network's test accuracy at this level, in 0..1, from the run's record."""
    bytes_per_image: float
    """Of the activation messages of the rebuilt images, headers included."""
    similarity: Similarity
    seconds: float
    """Of training the inverse network and rebuilding."""


class LeakReport(Record):
    """What an attacker rebuilt from the activations of a run (docs/privacy.md)."""

    run: str
    recipe: str
    sound: bool = False
    """Whether the images are spectrograms of recordings."""
    known_images: int
    """Training images that the attacker trained its inverse network on."""
    rebuilt_images: int
    """Images of the test split that the reconstructions are scored on."""
    epochs: int
    """Passes of the attacker over its images."""
    blind: Similarity
    """Of one guess for all images, the mean of those that the attacker knows: what can be had without any message."""
    levels: tuple[LevelLeak, ...]
