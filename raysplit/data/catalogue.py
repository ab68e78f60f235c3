"""The data sets that are known by name, and what can be said about them without opening a file."""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_DIGITS = tuple("0123456789")
_CIFAR10 = _words("airplane automobile bird cat deer dog frog horse ship truck")
_STL10 = _words("airplane bird car cat deer dog horse monkey ship truck")
_FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_CIFAR100 = _words(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
    shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """
)


@dataclass(frozen=True)
class Known:
    classes: tuple[str, ...]
    channels: int
    size: int | None
    """Height and width in pixels; None: they vary from image to image, so data.size must be set."""
    train_rows: int
    test_rows: int


CATALOGUE = {
    "mnist5k": Known(_DIGITS, 1, 28, 4_000, 1_000),
    "digits": Known(_DIGITS, 1, 8, 1_438, 359),
    "cifar10": Known(_CIFAR10, 3, 32, 50_000, 10_000),
    "cifar100": Known(_CIFAR100, 3, 32, 50_000, 10_000),
    "stl10": Known(_STL10, 3, 96, 5_000, 8_000),
    "fashion_mnist": Known(_FASHION, 1, 28, 60_000, 10_000),
    # Which 100 classes is for the user's folders to say: until they are there, the names are numbers.
    "imagenet100": Known(tuple(str(i) for i in range(100)), 3, None, 126_689, 5_000),
}
