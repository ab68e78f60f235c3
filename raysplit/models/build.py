"""Build a model: ours, torchvision's or timm's by name, a user's function, or a copy of a module in memory."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from raysplit.config import ModelConfig
from raysplit.config.in_memory import PREFIX
from raysplit.errors import ModelError, nearest
from raysplit.models.resnet9 import ResNet9
from raysplit.models.vgg import NAMES, VGG
from raysplit.torch_utils.finite import find_non_finite
from raysplit.utils.user_code import load_function, lost_object

_SPIKING = ("spiking_vgg5", "spiking_vgg9", "spiking_vgg16")
PRUNABLE = (*NAMES, *_SPIKING, "vit")
"""Networks that sub-models are cut out of; sub-models are always of one of these kinds."""
OWN = (*PRUNABLE, "resnet9")
"""Networks of this package."""
# Auxiliary heads return a tuple in train mode, and rule out every cut after the first of them.
_NO_AUX: dict[str, Any] = {"aux_logits": False, "init_weights": True}
_TORCHVISION_DEFAULTS = {"googlenet": _NO_AUX, "inception_v3": _NO_AUX}


def build(config: ModelConfig, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Return a model that maps (B, *shape) floats to (B, classes) logits, freshly initialized.

    `shape` is (channels, height, width). A name is looked up among ours, torchvision's and timm's, in
    this order; `torchvision:NAME` and `timm:NAME` force a library, `path.py:function` calls
    `function(classes=…, shape=…, **args)`. The weights depend on torch's global seed alone; those of a module in
    memory are its own, and the model is a copy of it on the CPU.

    Raises ModelError for an unknown name, an argument that the model does not take, a model that fails
    to build, a number of channels that it cannot take, or a module with another number of outputs; ConfigError for a
    faulty `path.py:function` and for a config read from a record of a module in memory; MissingExtra for a spiking
    model without SpikingJelly. A library is imported only if the name may be one of its own.

    >>> model = build(ModelConfig(name="vgg5", args={"width": 0.125}), classes=10, shape=(1, 28, 28))
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    name = config.name
    if config.module is not None:
        model = _copy(config.module, name, classes, shape)
    elif name.startswith(PREFIX):
        raise lost_object("model", name.removeprefix(PREFIX), "name it as path.py:function")
    else:
        model = _named(config, classes, shape)
    vars(model).setdefault("name", name)  # for errors about its cuts
    return model


def _named(config: ModelConfig, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    name = config.name
    library, _, bare = name.rpartition(":")
    if ".py:" in name:
        return _call(name, load_function(name), {"classes": classes, "shape": shape, **config.args})
    if library not in ("", "torchvision", "timm"):
        raise ModelError(f"model '{name}': '{library}' is not a library; write torchvision: or timm:")
    if not library and bare in NAMES:
        return _call(name, VGG, {"name": bare, "classes": classes, "in_channels": shape[0], **config.args})
    if name in _SPIKING:
        from raysplit.models.spiking import SpikingVGG  # SpikingJelly is an extra

        return _call(name, SpikingVGG, {"name": name, "classes": classes, "in_channels": shape[0], **config.args})
    if name == "resnet9":
        return _call(name, ResNet9, {"classes": classes, "in_channels": shape[0], **config.args})
    if name == "vit":
        from raysplit.models.vit import vit

        return _call(name, vit, {"classes": classes, "shape": shape, **config.args})
    if library != "timm" and bare in _torchvision_names():
        return _torchvision(name, bare, classes, shape, config.args)
    if library != "torchvision" and _timm_has(bare):
        return _timm(name, bare, classes, shape, config.args)
    ours = () if library else OWN
    known = [
        *ours,
        *(_torchvision_names() if library != "timm" else ()),
        *(_timm_names() if library != "torchvision" else ()),
    ]
    raise ModelError(f"there is no model '{name}'. {nearest(bare, dict.fromkeys(known))}")


def find_library(name: str) -> tuple[Literal["torchvision", "timm"] | None, str]:
    """Return the library that a network's name is looked up in, None for ours and a user's, and its name there.

    >>> find_library("timm:resnet18"), find_library("resnet18"), find_library("vgg11")
    (('timm', 'resnet18'), ('torchvision', 'resnet18'), (None, 'vgg11'))
    """
    library, _, bare = name.rpartition(":")
    if ".py:" in name or name in OWN or library not in ("", "torchvision", "timm"):
        return None, name
    if library != "timm" and bare in _torchvision_names():
        return "torchvision", bare
    return ("timm", bare) if library != "torchvision" and _timm_has(bare) else (None, name)


def _copy(module: nn.Module, name: str, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Return a copy of a module in memory, on the CPU, whose outputs are as many as the classes."""
    try:
        model = copy.deepcopy(module).cpu()
    except Exception as err:
        raise ModelError(f"model {name} cannot be copied: {type(err).__name__}: {_first_line(err)}") from err
    if (weight := find_non_finite(model)) is not None:
        raise ModelError(f"model {name} holds NaN or infinity in {weight}: give it other weights")
    for path, parameter in module.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise ModelError(
                f"parameter {path} of model {name} has a hook on its gradient, which a copy loses: remove it"
            )
    training = model.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = model.eval()(torch.zeros(2, *shape))
    except Exception as err:
        raise ModelError(
            f"model {name} cannot take images of shape {shape}: {type(err).__name__}: {_first_line(err)}"
        ) from err
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if found != (2, classes):
        raise ModelError(
            f"model {name} returns {found} for 2 images, expected the logits of {classes} classes, (2, {classes})"
        )
    return model.train(training)


def _torchvision_names() -> list[str]:
    import torchvision.models as zoo

    names: list[str] = zoo.list_models(module=zoo)
    return names


def _timm_has(bare: str) -> bool:
    import timm

    return bool(timm.is_model(bare))


def _timm_names() -> list[str]:
    import timm

    names: list[str] = timm.list_models()
    return names


def _torchvision(name: str, bare: str, classes: int, shape: tuple[int, int, int], args: dict[str, Any]) -> nn.Module:
    import torchvision.models as zoo

    if shape[0] != 3:
        raise ModelError(f"torchvision's {bare} takes images of 3 channels, these have {shape[0]}: set data.channels=3")
    size = {"image_size": shape[1]} if bare.startswith("vit_") else {}
    defaults = _TORCHVISION_DEFAULTS.get(bare, {})
    return _call(name, zoo.get_model_builder(bare), {"num_classes": classes, **defaults, **size, **args})


def _timm(name: str, bare: str, classes: int, shape: tuple[int, int, int], args: dict[str, Any]) -> nn.Module:
    def create(**kwargs: Any) -> nn.Module:
        return create_timm(bare, shape, kwargs, num_classes=classes)

    return _call(name, create, args)


def create_timm(bare: str, shape: tuple[int, int, int], args: dict[str, Any], **options: Any) -> nn.Module:
    """Return timm's network of a name for images of `shape`, unless `args` say otherwise; raises what timm does."""
    import timm

    geometry = {"img_size": shape[1] if shape[1] == shape[2] else shape[1:], "in_chans": shape[0]}
    kwargs = {**options, **geometry, **args}
    # Only transformers and mixers take the image size, and there is no list of them.
    try:
        model: nn.Module = timm.create_model(bare, **kwargs)
    except TypeError as err:
        if "img_size" in args or "'img_size'" not in str(err):
            raise
        del kwargs["img_size"]
        model = timm.create_model(bare, **kwargs)
    return model


def _call(name: str, builder: Callable[..., Any], kwargs: dict[str, Any]) -> nn.Module:
    """Call a builder; whatever it raises becomes one ModelError line, which names a wrong argument."""
    try:
        model = builder(**kwargs)
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
        raise ModelError(f"model {name} cannot be built: {type(err).__name__}: {_first_line(err)}") from err
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} returned a {type(model).__name__}, expected a torch.nn.Module")
    return model


def _first_line(err: Exception) -> str:
    return str(err).strip().partition("\n")[0]
