"""The names of a bundle's images."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raysplit.errors import ConfigError
from raysplit.serving.args import SUBMODEL_PREFIX

RAY_VERSION = "2.60.0"
"""Of Ray in the images, as docker/server.lock pins it."""
BUNDLE_PATH = "/bundle"
"""Where an image has the bundle's files."""
_TAGGED = re.compile(r"[\w./:-]+:(\d+\.\d+\.\d+)[\w.-]*")
"""An image whose tag begins with the version of Ray in it."""
_PREFIX = re.compile(r"[a-z0-9][\w.:/-]*[\w-]|[a-z0-9]")


@dataclass(frozen=True)
class ImageNames:
    """The images of one bundle.

    Their tag begins with the version of Ray, which KubeRay and `raysplit check` need, and ends with the bundle's id: a
    new bundle has new images.

    >>> names = ImageNames.of("registry.example.com/raysplit", "0123456789abcdef")
    >>> names.server, names.submodel(2)
    ('registry.example.com/raysplit-server:2.60.0-0123456789ab', \
'registry.example.com/raysplit-submodel-2:2.60.0-0123456789ab')
    """

    prefix: str
    tag: str

    @classmethod
    def of(cls, prefix: str, bundle_id: str) -> ImageNames:
        """Return the names of the images of a bundle; ConfigError for a prefix that has a tag or is no image's name."""
        if not _PREFIX.fullmatch(prefix) or ":" in prefix.rpartition("/")[2]:
            raise ConfigError(
                f"'{prefix}' cannot begin the name of an image; write it like registry.example.com/raysplit, without a "
                "tag"
            )
        return cls(prefix, f"{RAY_VERSION}-{bundle_id[:12]}")

    @property
    def server(self) -> str:
        """The head's and the ingress's."""
        return f"{self.prefix}-server:{self.tag}"

    @property
    def device(self) -> str:
        """That of the client of a device."""
        return f"{self.prefix}-device:{self.tag}"

    def submodel(self, index: int) -> str:
        """Return that of a sub-model."""
        return self.part(f"{SUBMODEL_PREFIX}{index}")

    def part(self, name: str) -> str:
        """Return that of a deployment: a sub-model, or all that one device holds."""
        return f"{self.prefix}-{name}:{self.tag}"


def find_ray_version(image: str) -> str:
    """Return the version of Ray that an image's tag begins with; ConfigError if it begins with none.

    >>> find_ray_version("registry.example.com/raysplit:2.60.0-py311")
    '2.60.0'
    """
    match = _TAGGED.fullmatch(image)
    if match is None:
        raise ConfigError(
            f"the tag of image '{image}' does not begin with its Ray version; tag it like raysplit:2.60.0"
        )
    return match[1]
