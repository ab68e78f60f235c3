"""The network of `models.vit` for inference, in plain torch: importing timm takes longer than importing torch.

Its parameters have the names and shapes of timm's VisionTransformer, so that weights load in either, and it computes
the same in eval mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"]
Pooling = Literal["token", "avg", "avgmax", "max"]


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return an activation like x."""
        return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: Mapping[str | None, Callable[[], nn.Module]] = {
    None: nn.GELU,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "quick_gelu": QuickGELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


class PlainViT(nn.Module):
    """A Vision Transformer (Dosovitskiy et al. 2021) that maps floats (B, *shape) to logits (B, classes).

    The arguments are those of `models.vit`. Dropout rates are accepted and ignored, as in eval mode. Raises TypeError
    for an argument of timm's that it does not have, and ValueError for a value that it does not have.

    >>> model = PlainViT(classes=10, shape=(1, 8, 8), patch=4, width=24, depth=1, heads=3)
    >>> model(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        classes: int,
        shape: tuple[int, int, int],
        patch: int | tuple[int, int],
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        *,
        act_layer: Activation | None = None,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        init_values: float | None = None,
        global_pool: Pooling = "token",
        pool_include_prefix: bool = False,
        class_token: bool = True,
        reg_tokens: int = 0,
        pos_embed: Literal["learn", "none", ""] = "learn",
        no_embed_class: bool = False,
        pre_norm: bool = False,
        final_norm: bool = True,
        fc_norm: bool | None = None,
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        patch_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        sides = (patch, patch) if isinstance(patch, int) else (patch[0], patch[1])
        if shape[1] % sides[0] or shape[2] % sides[1]:
            raise ValueError(f"images of {shape[1]}×{shape[2]} cannot be divided into patches of {sides}")
        if act_layer not in _ACTIVATIONS or global_pool not in ("token", "avg", "avgmax", "max"):
            raise ValueError(f"there is no activation '{act_layer}' or no pooling '{global_pool}'")
        if width % heads or (global_pool == "token" and not class_token):
            raise ValueError("the width must be a multiple of heads, and pooling by the class token needs one")
        norm = partial(nn.LayerNorm, width, eps=norm_eps)
        self._pooling, self._prefix = global_pool, class_token + reg_tokens
        self._pool_prefix, self._embed_prefix = pool_include_prefix, not no_embed_class
        patches = (shape[1] // sides[0]) * (shape[2] // sides[1])
        self.patch_embed = _PatchEmbed(shape[0], width, sides, bias=not pre_norm)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, reg_tokens, width)) if reg_tokens else None
        embedded = patches if no_embed_class else patches + self._prefix
        self.pos_embed = nn.Parameter(torch.zeros(1, embedded, width)) if pos_embed == "learn" else None
        self.norm_pre = norm() if pre_norm else nn.Identity()
        block = partial(
            _Block,
            width,
            heads,
            int(width * mlp_ratio),
            norm,
            _ACTIVATIONS[act_layer],
            qkv_bias,
            proj_bias,
            init_values,
        )
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        norm_after_pool = global_pool != "token" if fc_norm is None else fc_norm
        self.norm = norm() if final_norm and not norm_after_pool else nn.Identity()
        self.fc_norm = norm() if final_norm and norm_after_pool else nn.Identity()
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return tokens (B, N, width)."""
        tokens: Tensor = self.norm(self.blocks(self.norm_pre(self._embed(self.patch_embed(x)))))
        return tokens

    def forward_head(self, z: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) for tokens (B, N, width); `pre_logits`: features (B, width)."""
        features: Tensor = self.fc_norm(self._pool(z))
        return features if pre_logits else self.head(features)

    def _embed(self, tokens: Tensor) -> Tensor:
        prefix = [token.expand(len(tokens), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        if self.pos_embed is not None and not self._embed_prefix:
            tokens = tokens + self.pos_embed
        if prefix:
            tokens = torch.cat([*prefix, tokens], 1)
        return tokens + self.pos_embed if self.pos_embed is not None and self._embed_prefix else tokens

    def _pool(self, z: Tensor) -> Tensor:
        if self._pooling == "token":
            return z[:, 0]
        z = z if self._pool_prefix else z[:, self._prefix :]
        if self._pooling == "avg":
            return z.mean(1)
        return z.amax(1) if self._pooling == "max" else 0.5 * (z.amax(1) + z.mean(1))


class _PatchEmbed(nn.Module):
    def __init__(self, channels: int, width: int, sides: tuple[int, int], bias: bool):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, sides, sides, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return tokens


class _Block(nn.Module):
    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        norm: partial[nn.LayerNorm],
        activation: Callable[[], nn.Module],
        qkv_bias: bool,
        proj_bias: bool,
        scale: float | None,
    ):
        super().__init__()
        self.norm1, self.norm2 = norm(), norm()
        self.attn = _Attention(width, heads, qkv_bias, proj_bias)
        self.mlp = _MLP(width, hidden, activation(), proj_bias)
        self.ls1: nn.Module = _LayerScale(width, scale) if scale else nn.Identity()
        self.ls2: nn.Module = _LayerScale(width, scale) if scale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        x = x + self.ls2(self.mlp(self.norm2(x)))
        return x


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, qkv_bias: bool, proj_bias: bool):
        super().__init__()
        self._heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width, bias=proj_bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        qkv = self.qkv(x).reshape(batch, count, 3, self._heads, width // self._heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, width)
        out: Tensor = self.proj(mixed)
        return out


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int, activation: nn.Module, bias: bool):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=bias)
        self.act = activation
        self.fc2 = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class _LayerScale(nn.Module):
    def __init__(self, width: int, scale: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma
