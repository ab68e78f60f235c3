"""A timm VisionTransformer and the smaller ones within it (after ED-ViT, arXiv 2410.11650; docs/ensembles.md)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.head import class_rows
from raysplit.ensemble.prunable.vit_geometry import unsliceable_parts, vit_arguments
from raysplit.errors import ModelError
from raysplit.models import build
from raysplit.split.tracer import model_name


class PrunableViT:
    """A base ViT of h heads, and its groups of units.

    `width`: the channels of all tokens. `blocks.I.attn`: the dimensions of block I's values and, with them, of
    its queries and keys. `blocks.I.ffn`: the hidden units of its MLP. A network that keeps k/h of each has k heads of
    the base's head size, and all blocks; its head j has the kept dimensions of the j-th of k near-equal runs of the
    base's heads.
    """

    kind: Literal["vit"] = "vit"

    def __init__(self, model: VisionTransformer, shape: tuple[int, int, int]):
        for part in unsliceable_parts(model, shape):
            raise ModelError(f"sub-models cannot be cut out of {model_name(model)}: it has {part}; use a plain ViT")
        self.model = model.eval()
        self.shape = shape
        block: Any = model.blocks[0]
        self.size_steps: int = block.attn.num_heads
        self._head_dim: int = block.attn.head_dim
        self._hidden: int = block.mlp.fc1.out_features
        self._args = vit_arguments(model)
        twin = self._build(self.size_steps, model.num_classes)
        ours, theirs = ({(name, t.shape) for name, t in m.state_dict().items()} for m in (twin, model))
        for name, size in sorted(theirs ^ ours):
            raise ModelError(
                f"sub-models cannot be cut out of {model_name(model)}: its parameters differ from those of a plain ViT "
                f"of its geometry in {name} {tuple(size)}; use a plain ViT"
            )

    def units(self) -> dict[str, int]:
        """Return the units of `width` and, block by block, of `blocks.I.attn` and `blocks.I.ffn`."""
        inner = {"attn": self.model.embed_dim, "ffn": self._hidden}
        blocks = range(len(self.model.blocks))
        return {"width": self.model.embed_dim} | {f"blocks.{i}.{part}": n for i in blocks for part, n in inner.items()}

    def forward_masked(self, x: Tensor, masks: Mapping[str, Tensor], heads: int | None = None) -> Tensor:
        """Return the base's logits (B, classes) with units switched off, see `PrunableNetwork.forward_masked`.

        `heads` merges the base's heads into that many, as in a network that keeps heads/h; None: no merging.
        """
        return self.forward_from(self.tokens_before("width", x), "width", masks, heads)

    def tokens_before(self, group: str, x: Tensor) -> Tensor:
        """Return the tokens (B, N, D) that masks of `group` are first applied to, with all units before it on."""
        tokens: Tensor = self.model._pos_embed(self.model.patch_embed(x))
        if group == "width":
            return tokens
        tokens = self.model.norm_pre(tokens)
        for part in self._parts(until=group):
            tokens = self._apply_part(part, tokens, {}, self.size_steps)
        return tokens

    def forward_from(self, tokens: Tensor, group: str, masks: Mapping[str, Tensor], heads: int | None = None) -> Tensor:
        """Return the logits (B, classes) from the tokens of `tokens_before(group, …)`, as `forward_masked`."""
        width = masks.get("width")
        if group == "width":
            tokens = _norm(self.model.norm_pre, tokens, width)
        for part in self._parts(since=group):
            tokens = self._apply_part(part, tokens, masks, heads or self.size_steps)
        tokens = _norm(self.model.norm, tokens, width)
        features = _norm(self.model.fc_norm, self.model.pool(tokens), width)
        if (
            width is not None
            and isinstance(self.model.norm, nn.Identity)
            and isinstance(self.model.fc_norm, nn.Identity)
        ):
            features = features * width
        logits: Tensor = self.model.head(features)
        return logits

    def select_units(self, scores: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        """Return the units to keep, see `PrunableNetwork.select_units`; each new head gets equally many dimensions."""
        kept = {}
        for group, score in scores.items():
            if group.endswith(".attn"):
                runs = [run.numel() for run in torch.arange(self.size_steps).tensor_split(k)]
                starts = [0, *torch.tensor(runs).cumsum(0).mul(self._head_dim).tolist()]
                best = [start + _top(score[start:end], self._head_dim) for start, end in itertools.pairwise(starts)]
                kept[group] = torch.cat(best)
            else:
                kept[group] = _top(score, self._kept_hidden(k) if group.endswith(".ffn") else k * self._head_dim)
        return kept

    def geometry(self, k: int) -> ModelConfig:
        """Return the config of the `vit` with k heads and k/h of the width and of the hidden units, rounded down."""
        width, hidden = k * self._head_dim, self._kept_hidden(k)
        ratio = self._hidden / self.model.embed_dim
        if int(width * ratio) != hidden:
            ratio = (hidden + 0.5) / width  # timm rounds down
        args = {"width": width, "heads": k, "mlp_ratio": ratio, **self._args}
        return ModelConfig(name="vit", args=args)

    def shrink(
        self, kept: Mapping[str, Tensor], k: int, classes: Sequence[int] | None, rest: bool
    ) -> VisionTransformer:
        """Return a plain timm VisionTransformer with the kept units' weights, see `PrunableNetwork.shrink`."""
        head = {f"head.{n}": class_rows(t, classes, rest) for n, t in self.model.head.state_dict().items()}
        weights = {name: self._slice(name, tensor, kept) for name, tensor in (self.model.state_dict() | head).items()}
        small = self._build(k, len(weights["head.weight"]))
        small.load_state_dict(weights, assign=True)
        return small

    def _kept_hidden(self, k: int) -> int:
        return max(1, self._hidden * k // self.size_steps)

    def _build(self, k: int, outputs: int) -> VisionTransformer:
        """Return the network of `geometry(k)` on the meta device."""
        with torch.device("meta"):
            small = build(self.geometry(k), outputs, self.shape)
        assert isinstance(small, VisionTransformer)
        return small

    def _parts(self, since: str = "width", until: str | None = None) -> list[str]:
        """Return the groups inside the blocks that are computed in order, from one to before another."""
        names = list(self.units())[1:]
        first = 0 if since == "width" else names.index(since)
        return names[first : None if until is None else names.index(until)]

    def _apply_part(self, part: str, tokens: Tensor, masks: Mapping[str, Tensor], heads: int) -> Tensor:
        """Return the tokens (B, N, D) after the attention or the MLP of a block and its residual connection."""
        block: Any = self.model.get_submodule(part.rpartition(".")[0])
        mask = _over_tokens(masks[part]) if part in masks else None
        if part.endswith(".ffn"):
            hidden = block.mlp.act(block.mlp.fc1(_norm(block.norm2, tokens, masks.get("width"))))
            change: Tensor = block.ls2(block.mlp.fc2(hidden if mask is None else hidden * mask))
            return tokens + change
        q, k, v = block.attn.qkv(_norm(block.norm1, tokens, masks.get("width"))).chunk(3, -1)
        if mask is not None:  # on q alone: the product of q and k is 0 when one of them is
            q, v = q * mask, v * mask
        change = block.ls1(block.attn.proj(self._attend(q, k, v, heads)))
        return tokens + change

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Return the output (B, N, D) of `heads` heads, each over a run of the base's; the first runs are longer."""
        longer = self.size_steps % heads
        boundary = longer * (self.size_steps // heads + 1) * self._head_dim
        found = []
        for count, run in ((longer, slice(boundary)), (heads - longer, slice(boundary, None))):
            if count:
                q_run, k_run, v_run = (_split_heads(t[..., run], count) for t in (q, k, v))
                mixed = F.scaled_dot_product_attention(q_run, k_run, v_run, scale=self._head_dim**-0.5)
                found.append(mixed.transpose(1, 2).flatten(2))
        return torch.cat(found, -1)

    def _slice(self, name: str, tensor: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        """Return the kept rows and columns of a parameter of the base."""
        width = kept["width"].to(tensor.device)
        module, _, kind = name.rpartition(".")
        if not module:  # cls_token, reg_token, pos_embed: (1, N, D)
            return tensor[..., width]
        block, _, layer = module.rpartition(".")
        rows = columns = width
        if layer == "qkv":
            rows = torch.cat([kept[block] + third * self.model.embed_dim for third in range(3)])
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
        part = tensor[rows.to(tensor.device)]
        return part[:, columns.to(tensor.device)] if kind == "weight" and tensor.ndim == 2 else part


def _top(score: Tensor, count: int) -> Tensor:
    return score.argsort(descending=True, stable=True)[:count].sort().values


def _over_tokens(mask: Tensor) -> Tensor:
    """Return a mask (units,) or (B, units) in a shape that multiplies tokens (B, N, units)."""
    return mask if mask.ndim == 1 else mask[:, None]


def _split_heads(t: Tensor, heads: int) -> Tensor:
    """Return (B, N, D) as (B, heads, N, D / heads)."""
    return t.reshape(*t.shape[:-1], heads, -1).transpose(1, 2)


def _norm(norm: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return `norm` of x (B, N, D) or (B, D) over the channels that the mask switches on; the others are 0."""
    if mask is None or isinstance(norm, nn.Identity):
        normed: Tensor = norm(x)
        return normed
    assert isinstance(norm, nn.LayerNorm)
    mask = _over_tokens(mask) if x.ndim == 3 else mask
    count = mask.sum(-1, keepdim=True)
    x = x - (x * mask).sum(-1, keepdim=True) / count
    variance = (x.square() * mask).sum(-1, keepdim=True) / count
    y = x * (variance + norm.eps).rsqrt() * norm.weight
    return (y if norm.bias is None else y + norm.bias) * mask
