"""A timm VisionTransformer and the smaller ones inside it (after ED-ViT, arXiv 2410.11650; docs/ensembles.md)."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp, PatchEmbed, create_act_layer
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.head import class_rows
from raysplit.errors import ModelError
from raysplit.models import build
from raysplit.models.vit import vit
from raysplit.split.tracer import name_of

_ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")
_POOLING = ("token", "avg", "avgmax", "max")


class PrunableViT:
    """A base ViT of h heads, and its groups of units.

    `width`: the channels of all tokens. `blocks.I.attn`: the dimensions of block I's values and, with them, of
    its queries and keys. `blocks.I.ffn`: the hidden units of its MLP. A net that keeps k/h of each has k heads of
    the size they had, and all blocks; its head j has the kept dimensions of the j-th of k near-equal runs of the
    base's heads.
    """

    kind: Literal["vit"] = "vit"

    def __init__(self, model: VisionTransformer, shape: tuple[int, int, int]):
        for part in _unsliceable(model, shape):
            raise ModelError(f"sub-models cannot be cut out of {name_of(model)}: it has {part}; use a plain ViT")
        self.model = model.eval()
        self.shape = shape
        block: Any = model.blocks[0]
        self.steps: int = block.attn.num_heads
        self._head_dim: int = block.attn.head_dim
        self._hidden: int = block.mlp.fc1.out_features
        self._args = _arguments(model)
        twin = self._build(self.steps, model.num_classes)
        ours, theirs = ({(name, t.shape) for name, t in m.state_dict().items()} for m in (twin, model))
        for name, size in sorted(theirs ^ ours):
            raise ModelError(
                f"sub-models cannot be cut out of {name_of(model)}: its parameters differ from those of a plain ViT "
                f"of its geometry in {name} {tuple(size)}; use a plain ViT"
            )

    def units(self) -> dict[str, int]:
        """Return the units of `width` and, block by block, of `blocks.I.attn` and `blocks.I.ffn`."""
        inner = {"attn": self.model.embed_dim, "ffn": self._hidden}
        blocks = range(len(self.model.blocks))
        return {"width": self.model.embed_dim} | {f"blocks.{i}.{part}": n for i in blocks for part, n in inner.items()}

    def masked(self, x: Tensor, masks: Mapping[str, Tensor], heads: int | None = None) -> Tensor:
        """Return the base's logits (B, classes) with units switched off, as `Family.masked`.

        `heads` joins the base's heads to that many, as a net that keeps heads/h has them (None: as they are).
        """
        return self.resume(self.entering("width", x), "width", masks, heads)

    def entering(self, group: str, x: Tensor) -> Tensor:
        """Return the tokens (B, N, D) that masks of `group` are first applied to, with all units before it on."""
        tokens = self.model._pos_embed(self.model.patch_embed(x))
        if group == "width":
            return tokens
        tokens = self.model.norm_pre(tokens)
        for part in self._parts(until=group):
            tokens = self._through(part, tokens, {}, self.steps)
        return tokens

    def resume(self, tokens: Tensor, group: str, masks: Mapping[str, Tensor], heads: int | None = None) -> Tensor:
        """Return the logits (B, classes) from the tokens of `entering(group, …)`, as `masked`."""
        width = masks.get("width")
        if group == "width":
            tokens = _norm(self.model.norm_pre, tokens, width)
        for part in self._parts(since=group):
            tokens = self._through(part, tokens, masks, heads or self.steps)
        tokens = _norm(self.model.norm, tokens, width)
        features = _norm(self.model.fc_norm, self.model.pool(tokens), width)
        if (
            width is not None
            and isinstance(self.model.norm, nn.Identity)
            and isinstance(self.model.fc_norm, nn.Identity)
        ):
            features = features * width
        return self.model.head(features)

    def choose(self, scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        """Return the units to keep, as `Family.choose`; of attention, equally many for each new head."""
        kept = {}
        for group, score in scores.items():
            if group.endswith(".attn"):
                runs = [run.numel() for run in torch.arange(self.steps).tensor_split(k)]
                starts = [0, *torch.tensor(runs).cumsum(0).mul(self._head_dim).tolist()]
                best = [start + _best(score[start:end], self._head_dim) for start, end in itertools.pairwise(starts)]
                kept[group] = torch.cat(best)
            else:
                kept[group] = _best(score, self._kept_hidden(k) if group.endswith(".ffn") else k * self._head_dim)
        return kept

    def geometry(self, k: int) -> ModelConfig:
        """Return the `vit` that keeps k/h: k heads, and k/h of the width and of the hidden units, rounded down."""
        width, hidden = k * self._head_dim, self._kept_hidden(k)
        ratio = self._hidden / self.model.embed_dim
        if int(width * ratio) != hidden:
            ratio = (hidden + 0.5) / width  # timm rounds down
        args = {"width": width, "heads": k, "mlp_ratio": ratio, **self._args}
        return ModelConfig(name="vit", args=args)

    def shrink(
        self, kept: Mapping[str, Tensor], k: int, classes: Sequence[int] | None, rest: bool
    ) -> VisionTransformer:
        """Return a plain timm VisionTransformer with the weights of the kept units, as `Family.shrink`."""
        head = {f"head.{n}": class_rows(t, classes, rest) for n, t in self.model.head.state_dict().items()}
        cut = {name: self._cut(name, tensor, kept) for name, tensor in (self.model.state_dict() | head).items()}
        small = self._build(k, len(cut["head.weight"]))
        small.load_state_dict(cut, assign=True)
        return small

    def _kept_hidden(self, k: int) -> int:
        return max(1, self._hidden * k // self.steps)

    def _build(self, k: int, outputs: int) -> VisionTransformer:
        """Return the net of `geometry(k)` on the meta device."""
        with torch.device("meta"):
            small = build(self.geometry(k), outputs, self.shape)
        assert isinstance(small, VisionTransformer)
        return small

    def _parts(self, since: str = "width", until: str | None = None) -> list[str]:
        """Return the groups inside the blocks that are computed in order, from one to before another."""
        names = list(self.units())[1:]
        first = 0 if since == "width" else names.index(since)
        return names[first : None if until is None else names.index(until)]

    def _through(self, part: str, tokens: Tensor, masks: Mapping[str, Tensor], heads: int) -> Tensor:
        """Return the tokens (B, N, D) after the attention or the MLP of a block, added to those before."""
        block: Any = self.model.get_submodule(part.rpartition(".")[0])
        mask = _of_tokens(masks[part]) if part in masks else None
        if part.endswith(".ffn"):
            hidden = block.mlp.act(block.mlp.fc1(_norm(block.norm2, tokens, masks.get("width"))))
            return tokens + block.ls2(block.mlp.fc2(hidden if mask is None else hidden * mask))
        q, k, v = block.attn.qkv(_norm(block.norm1, tokens, masks.get("width"))).chunk(3, -1)
        if mask is not None:  # on q alone: a product of q and k is off when one of them is
            q, v = q * mask, v * mask
        return tokens + block.ls1(block.attn.proj(self._attend(q, k, v, heads)))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Return what `heads` heads give, (B, N, D), each over a run of the base's heads; the first runs are longer."""
        longer = self.steps % heads
        at = longer * (self.steps // heads + 1) * self._head_dim
        found = []
        for count, run in ((longer, slice(at)), (heads - longer, slice(at, None))):
            if count:
                one, two, three = (t[..., run].unflatten(-1, (count, -1)).transpose(1, 2) for t in (q, k, v))
                mixed = F.scaled_dot_product_attention(one, two, three, scale=self._head_dim**-0.5)
                found.append(mixed.transpose(1, 2).flatten(2))
        return torch.cat(found, -1)

    def _cut(self, name: str, tensor: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        """Return the kept rows and columns of a parameter of the base."""
        width = kept["width"].to(tensor.device)
        module, _, kind = name.rpartition(".")
        if not module:  # cls_token, reg_token, pos_embed: (1, N, D)
            return tensor[..., width]
        block, _, layer = module.rpartition(".")
        rows = columns = width
        if layer == "qkv":
            rows = torch.cat([kept[block] + part * self.model.embed_dim for part in range(3)])
        elif layer == "proj" and block.endswith(".attn"):
            columns = kept[block]
        elif layer == "fc1":
            rows = kept[block.replace(".mlp", ".ffn")]
        elif layer == "fc2":
            columns = kept[block.replace(".mlp", ".ffn")]
        elif module == "head":
            rows = torch.arange(len(tensor))
        elif module == "patch_embed.proj":
            return tensor[width]
        cut = tensor[rows.to(tensor.device)]
        return cut[:, columns.to(tensor.device)] if kind == "weight" and tensor.ndim == 2 else cut


def _best(score: Tensor, count: int) -> Tensor:
    return score.argsort(descending=True, stable=True)[:count].sort().values


def _of_tokens(mask: Tensor) -> Tensor:
    """Return a mask (units,) or (B, units) in a shape that multiplies tokens (B, N, units)."""
    return mask if mask.ndim == 1 else mask[:, None]


def _norm(norm: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return `norm` of x (B, N, D) or (B, D) as if it had only the channels that the mask has on; the others are 0."""
    if mask is None or isinstance(norm, nn.Identity):
        return norm(x)
    assert isinstance(norm, nn.LayerNorm)
    mask = _of_tokens(mask) if x.ndim == 3 else mask
    count = mask.sum(-1, keepdim=True)
    x = x - (x * mask).sum(-1, keepdim=True) / count
    variance = (x.square() * mask).sum(-1, keepdim=True) / count
    y = x * (variance + norm.eps).rsqrt() * norm.weight
    return (y if norm.bias is None else y + norm.bias) * mask


def _arguments(model: VisionTransformer) -> dict[str, Any]:
    """Return the arguments of `models.vit` besides width, heads and mlp_ratio that give a net of this geometry.

    Those that have timm's default are left out, and so are the rates of dropout, but not of patches: they are left
    out to save time.
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
    """Return timm's name of the MLP's activation; None for one that is not among ours."""
    x = torch.linspace(-3, 3, 13)
    return next((name for name in _ACTIVATIONS if torch.allclose(block.mlp.act(x), create_act_layer(name)(x))), None)


def _unsliceable(model: VisionTransformer, shape: tuple[int, int, int]) -> Iterator[str]:
    """Yield the parts of a ViT that this module does not slice."""
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
        f"images of {size} and not of {shape}": size != tuple(shape),
        f"patches of {sides}, which leave out the edge of images of {size[1:]}": any(
            side % patch for side, patch in zip(size[1:], sides, strict=True)
        ),
        "a norm after the patches (embed_norm_layer)": not isinstance(model.patch_embed.norm, nn.Identity),
        "attention pooling": model.attn_pool is not None,
        f"the pooling '{model.global_pool}'": model.global_pool not in _POOLING,
        "no head": not isinstance(model.head, nn.Linear),
        "normalised queries and keys (qk_norm)": not isinstance(first.attn.q_norm, nn.Identity),
        "a norm after attention (scale_attn_norm)": not isinstance(
            getattr(first.attn, "norm", nn.Identity()), nn.Identity
        ),
        "a norm in the MLP (scale_mlp_norm)": not isinstance(first.mlp.norm, nn.Identity),
        "gated attention": getattr(first.attn, "gate", None) is not None,
        "heads that are not width / heads wide": first.attn.head_dim * first.attn.num_heads != model.embed_dim,
        f"the activation {type(first.mlp.act).__name__}": _activation(first) is None,
    }
    yield from (part for part, there in found.items() if there)
    for norm in norms:
        if not isinstance(norm, nn.LayerNorm) or norm.weight is None or norm.eps != norms[0].eps:
            yield f"norms of {norm}"
