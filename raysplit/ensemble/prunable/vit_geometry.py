"""The geometry of a timm VisionTransformer, and the parts that keep it from being sliced."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from timm.layers.attention import Attention
from timm.layers.create_act import create_act_layer
from timm.layers.mlp import Mlp
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from raysplit.models.vit import vit

_ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")
_POOLING = ("token", "avg", "avgmax", "max")


def vit_arguments(model: VisionTransformer) -> dict[str, Any]:
    """Return the arguments of `models.vit`, except width, heads and mlp_ratio, that give a network of this geometry.

    Arguments at timm's default are left out, and so are dropout rates; that of whole patches, which saves time, is not.
    """
    block: Any = model.blocks[0]
    patch = tuple(model.patch_embed.patch_size)
    averaging = model.global_pool != "token"
    fc_norm = not isinstance(model.fc_norm, nn.Identity)
    final_norm = fc_norm or not isinstance(model.norm, nn.Identity)
    found = {
        "norm_eps": block.norm1.eps,
        "act_layer": _activation(block),
        "qkv_bias": block.attn.qkv.bias is not None,
        "proj_bias": block.attn.proj.bias is not None,
        "init_values": None if isinstance(block.ls1, nn.Identity) else 1e-5,
        "global_pool": model.global_pool,
        "pool_include_prefix": model.pool_include_prefix,
        "class_token": model.has_class_token,
        "reg_tokens": model.num_reg_tokens,
        "pos_embed": "none" if model.pos_embed is None else "learn",
        "no_embed_class": model.no_embed_class,
        "pre_norm": not isinstance(model.norm_pre, nn.Identity),
        "final_norm": final_norm,
        "fc_norm": fc_norm if final_norm and fc_norm != averaging else None,
        "patch_drop_rate": getattr(model.patch_drop, "prob", 0.0),
    }
    default = {n: p.default for f in (VisionTransformer, vit) for n, p in inspect.signature(f).parameters.items()}
    default["act_layer"] = "gelu"
    return {
        "patch": patch[0] if patch[0] == patch[1] else patch,
        "depth": len(model.blocks),
        **{name: value for name, value in found.items() if value != default[name]},
    }


def _activation(block: Any) -> str | None:
    """Return timm's name of the MLP's activation; None for one that is not supported."""
    x = torch.linspace(-3, 3, 13)
    return next((name for name in _ACTIVATIONS if torch.allclose(block.mlp.act(x), create_act_layer(name)(x))), None)


def unsliceable_parts(model: VisionTransformer, shape: tuple[int, int, int]) -> Iterator[str]:
    """Yield the parts of a ViT that cannot be sliced, worded to follow "it has"."""
    if type(model) is not VisionTransformer or type(model.patch_embed) is not PatchEmbed:
        yield f"the additions of {type(model).__name__} with {type(model.patch_embed).__name__}"
        return
    size = (model.patch_embed.proj.in_channels, *model.patch_embed.img_size)
    blocks: list[Any] = list(model.blocks)
    for block in blocks:
        if type(block) is not Block or type(block.attn) is not Attention or type(block.mlp) is not Mlp:
            parts = (block, *(getattr(block, name) for name in ("attn", "mlp") if hasattr(block, name)))
            yield f"blocks of {', '.join(type(part).__name__ for part in parts)}"
            return
    norms = [module for name, module in model.named_modules() if "norm" in name.rpartition(".")[2]]
    norms = [norm for norm in norms if not isinstance(norm, nn.Identity)]
    first = blocks[0]
    sides = model.patch_embed.patch_size
    found = {
        f"images of {size} instead of {shape}": size != tuple(shape),
        f"patches of {sides}, which leave out the edge of images of {size[1:]}": any(
            side % patch for side, patch in zip(size[1:], sides, strict=True)
        ),
        "a norm after the patches (embed_norm_layer)": not isinstance(model.patch_embed.norm, nn.Identity),
        "attention pooling": model.attn_pool is not None,
        f"the pooling '{model.global_pool}'": model.global_pool not in _POOLING,
        "no head": not isinstance(model.head, nn.Linear),
        "normalized queries and keys (qk_norm)": not isinstance(first.attn.q_norm, nn.Identity),
        "a norm after attention (scale_attn_norm)": not isinstance(
            getattr(first.attn, "norm", nn.Identity()), nn.Identity
        ),
        "a norm in the MLP (scale_mlp_norm)": not isinstance(first.mlp.norm, nn.Identity),
        "gated attention": getattr(first.attn, "gate", None) is not None,
        "heads that are not width / heads wide": first.attn.head_dim * first.attn.num_heads != model.embed_dim,
        f"the activation {type(first.mlp.act).__name__}": _activation(first) is None,
    }
    yield from (part for part, present in found.items() if present)
    for norm in norms:
        if not isinstance(norm, nn.LayerNorm) or norm.weight is None or norm.eps != norms[0].eps:
            yield f"norms of {norm}"
