"""Build a model from its name: ours, torchvision's, timm's or a user's function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from torch import nn

from raysplit.config import ModelConfig
from raysplit.errors import ModelError, nearest
from raysplit.models.vgg import NAMES, VGG
from raysplit.utils.user_code import load_function

_SPIKING = ("spiking_vgg5", "spiking_vgg9", "spiking_vgg16")
OWN = (*NAMES, *_SPIKING, "vit")
"""Networks of this package; what is cut out of a base is always one of them."""
# Their auxiliary heads return a tuple in train mode, and stop every cut after the first of them.
_NO_AUX: dict[str, Any] = {"aux_logits": False, "init_weights": True}
_TORCHVISION_DEFAULTS = {"googlenet": _NO_AUX, "inception_v3": _NO_AUX}


def build(config: ModelConfig, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Return a freshly initialised model that maps (B, *shape) floats to (B, classes) logits.

    `shape` is (channels, height, width). A name is looked up among ours, torchvision's and timm's, in
    this order; `torchvision:NAME` and `timm:NAME` force a library, `path.py:function` calls
    `function(classes=…, shape=…, **args)`. The weights depend on torch's global seed alone.
    Raises ModelError for an unknown name, an argument that the model does not take, a model that fails
    to build, or a number of channels that it cannot take; ConfigError for a faulty `path.py:function`;
    MissingExtra for a spiking model without SpikingJelly. A library is imported when a name may be its own: a device
    has no use for the others.
    """
    name = config.name
    library, _, bare = name.rpartition(":")
    if ".py:" in name:
        model = _call(name, load_function(name), {"classes": classes, "shape": shape, **config.args})
        if not isinstance(model, nn.Module):
            raise ModelError(f"{name} returned a {type(model).__name__}, expected a torch.nn.Module")
    elif library not in ("", "torchvision", "timm"):
        raise ModelError(f"model '{name}': '{library}' is not a library; write torchvision: or timm:")
    elif not library and bare in NAMES:
        model = _call(name, VGG, {"name": bare, "classes": classes, "in_channels": shape[0], **config.args})
    elif name in _SPIKING:
        from raysplit.models.spiking import SpikingVGG  # SpikingJelly is an extra

        model = _call(name, SpikingVGG, {"name": name, "classes": classes, "in_channels": shape[0], **config.args})
    elif name == "vit":
        from raysplit.models.vit import vit

        model = _call(name, vit, {"classes": classes, "shape": shape, **config.args})
    elif library != "timm" and bare in _torchvision_names():
        model = _torchvision(name, bare, classes, shape, config.args)
    elif library != "torchvision" and _timm_has(bare):
        model = _timm(name, bare, classes, shape, config.args)
    else:
        ours = () if library else OWN
        known = [
            *ours,
            *(_torchvision_names() if library != "timm" else ()),
            *(_timm_names() if library != "torchvision" else ()),
        ]
        raise ModelError(f"there is no model '{name}'. {nearest(bare, dict.fromkeys(known))}")
    vars(model).setdefault("name", name)  # what errors about its cuts call it
    return model


def _torchvision_names() -> list[str]:
    import torchvision.models as zoo

    return zoo.list_models(module=zoo)


def _timm_has(bare: str) -> bool:
    import timm

    return timm.is_model(bare)


def _timm_names() -> list[str]:
    import timm

    return timm.list_models()


def _torchvision(name: str, bare: str, classes: int, shape: tuple[int, int, int], args: dict[str, Any]) -> nn.Module:
    import torchvision.models as zoo

    if shape[0] != 3:
        raise ModelError(f"torchvision's {bare} takes images of 3 channels, these have {shape[0]}: set data.channels=3")
    size = {"image_size": shape[1]} if bare.startswith("vit_") else {}
    defaults = _TORCHVISION_DEFAULTS.get(bare, {})
    return _call(name, zoo.get_model_builder(bare), {"num_classes": classes, **defaults, **size, **args})


def _timm(name: str, bare: str, classes: int, shape: tuple[int, int, int], args: dict[str, Any]) -> nn.Module:
    import timm

    geometry = {"img_size": shape[1] if shape[1] == shape[2] else shape[1:], "in_chans": shape[0]}

    def create(**kwargs: Any) -> nn.Module:
        # Only transformers and mixers want to know the image size, and there is no list of them.
        try:
            return timm.create_model(bare, num_classes=classes, **kwargs)
        except TypeError as err:
            if "img_size" in args or "'img_size'" not in str(err):
                raise
            del kwargs["img_size"]
            return timm.create_model(bare, num_classes=classes, **kwargs)

    return _call(name, create, {**geometry, **args})


def _call(name: str, builder: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Call a builder; whatever it raises becomes one ModelError line, which names a wrong argument."""
    try:
        return builder(**kwargs)
    except Exception as err:
        wrong = re.search(r"unexpected keyword argument '(\w+)'", str(err))
        if isinstance(err, TypeError) and wrong:
            named = [
                p.name
                for p in inspect.signature(builder).parameters.values()
                if p.kind is not inspect.Parameter.VAR_KEYWORD and p.name not in ("name", "weights", "progress")
            ]
            hint = nearest(wrong[1], named)
            raise ModelError(f"model {name} takes no argument '{wrong[1]}'. {hint}".rstrip()) from err
        reason = str(err).strip().partition("\n")[0]
        raise ModelError(f"model {name} cannot be built: {type(err).__name__}: {reason}") from err
