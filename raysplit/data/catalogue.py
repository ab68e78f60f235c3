"""The data sets that have names, and the facts about them that need no file."""

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
class CatalogueEntry:
    """What is known about a data set without opening a file.

    >>> CATALOGUE["cifar10"].train_rows
    50000
    """

    classes: tuple[str, ...]
    channels: int
    size: int | None
    """Height and width in pixels; None: images differ in size, and data.size must be set."""
    train_rows: int
    test_rows: int


CATALOGUE = {
    "mnist5k": CatalogueEntry(_DIGITS, 1, 28, 4_000, 1_000),
    "digits": CatalogueEntry(_DIGITS, 1, 8, 1_438, 359),
    "cifar10": CatalogueEntry(_CIFAR10, 3, 32, 50_000, 10_000),
    "cifar100": CatalogueEntry(_CIFAR100, 3, 32, 50_000, 10_000),
    "stl10": CatalogueEntry(_STL10, 3, 96, 5_000, 8_000),
    "fashion_mnist": CatalogueEntry(_FASHION, 1, 28, 60_000, 10_000),
    # The user's folders determine which 100 classes; without them, the names are numbers.
    "imagenet100": CatalogueEntry(tuple(str(i) for i in range(100)), 3, None, 126_689, 5_000),
}
