"""ViTs inside ViTs: what they weigh, and that they compute what the base computes without the removed units."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
from safetensors.torch import save
from timm.layers import RmsNorm, SwiGLU
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import nn

from raysplit.config import ModelConfig
from raysplit.ensemble.prunable.base import prunable_network
from raysplit.ensemble.prunable.vit import PrunableViT
from raysplit.errors import ModelError
from raysplit.models import build
from raysplit.split import count_flops

IMAGENET = (3, 224, 224)
SHAPE = (3, 32, 32)
SMALL = {"patch": 8, "width": 48, "depth": 2, "heads": 6}
TABLE = {1: ("2.5", "0.19"), 2: ("9.6", "0.60"), 3: ("21.1", "1.25"), 4: ("37.1", "2.14"), 5: ("57.6", "3.25")}
TABLE |= {6: ("82.7", "4.60")}
"""k: MiB and GMAC of what k of 12 heads of a ViT-B/16 at 224 pixels leave, with two classes."""


def scrambled(model: nn.Module) -> nn.Module:
    """Give every parameter values of a size that matters, as training would."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def base(classes: int = 7, **args) -> VisionTransformer:
    return scrambled(build(ModelConfig(name="vit", args=SMALL | args), classes, SHAPE))


def chosen(network: PrunableViT, k: int) -> tuple[dict, dict]:
    """Return random units to keep, and the masks that have the others off."""
    random = torch.Generator().manual_seed(k)
    kept = network.select_units({g: torch.rand(n, generator=random) for g, n in network.units().items()}, k)
    return kept, {group: torch.zeros(n).scatter(0, kept[group], 1.0) for group, n in network.units().items()}


def on_meta(model: str, classes: int) -> VisionTransformer:
    with torch.device("meta"):
        return timm.create_model(model, num_classes=classes)


def small_on_meta(network: PrunableViT, k: int) -> nn.Module:
    with torch.device("meta"):
        return build(network.geometry(k), 2, network.shape)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def mib(model: nn.Module) -> float:
    """Return the size of the model's safetensors file in fp32, in 2**20 bytes, without making all of it."""
    quarter = save({name: torch.zeros(t.shape, dtype=torch.uint8) for name, t in model.state_dict().items()})
    return (len(quarter) + 3 * parameters(model)) / 2**20


@pytest.fixture(scope="module")
def vit_b() -> tuple[PrunableViT, float, float]:
    """ViT-B/16 for ten classes, its MiB and its GMAC."""
    model = on_meta("vit_base_patch16_224", 10)
    return prunable_network(model, IMAGENET), mib(model), count_flops(model, IMAGENET) / 2e9


def test_the_geometry_table_of_vit_b(vit_b):
    network, full, gmac = vit_b
    print(f"\n k   MiB  GMAC\n12 {full:.1f} {gmac:.2f}")
    for k, row in TABLE.items():
        small = small_on_meta(network, k)
        found = f"{mib(small):.1f}", f"{count_flops(small, IMAGENET) / 2e9:.2f}"
        print(f"{k:2} {found[0]:>5} {found[1]:>5}")
        assert found == row


def test_two_heads_of_vit_b_are_34_times_smaller_and_29_times_cheaper(vit_b):
    network, full, gmac = vit_b
    small = small_on_meta(network, 2)
    assert parameters(small) == 2_503_554
    assert count_flops(small, IMAGENET) == 2 * 603_270_400
    assert f"{gmac:.2f}" == "17.56" and f"{gmac / 0.6032704:.1f}" == "29.1"
    assert full / mib(small) == pytest.approx(34.1, rel=0.005)


def test_one_head_of_vit_s():
    model = on_meta("vit_small_patch16_224", 10)
    small = small_on_meta(prunable_network(model, IMAGENET), 1)
    assert (f"{mib(model):.1f}", f"{mib(small):.1f}") == ("82.7", "2.5")
    assert f"{count_flops(model, IMAGENET) / count_flops(small, IMAGENET):.1f}" == "24.8"


KINDS = {
    "plain": {},
    "average": {"global_pool": "avg"},
    "tokens": {"reg_tokens": 2, "no_embed_class": True, "pre_norm": True, "init_values": 0.1, "patch_drop_rate": 0.5},
    "no class token": {"global_pool": "avg", "fc_norm": False, "class_token": False, "qkv_bias": False},
    "fc norm": {"fc_norm": True, "pool_include_prefix": True, "global_pool": "max"},
    "bare": {"final_norm": False, "pos_embed": "none", "act_layer": "gelu_tanh", "proj_bias": False, "norm_eps": 1e-3},
    "odd hidden": {"mlp_ratio": 2.6},
}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_pruned_is_masked(kind):
    network, x = prunable_network(base(**KINDS[kind]), SHAPE), torch.randn(3, *SHAPE)
    seen: list[torch.Tensor] = []
    torch.testing.assert_close(network.forward_masked(x, {}), network.model(x), rtol=1e-4, atol=1e-5)
    for k in range(1, 7):
        kept, masks = chosen(network, k)
        small = network.shrink(kept, k, None, rest=False).eval()
        hook = network.model.head.register_forward_hook(lambda _, given, __: seen.append(given[0]))
        logits = network.forward_masked(x, masks, heads=k)
        hook.remove()
        features = small.forward_head(small.forward_features(x), pre_logits=True)
        assert features.shape == (3, 8 * k)
        torch.testing.assert_close(features, seen[-1][:, kept["width"]], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(small(x), logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_mask_switches_off_what_zeros_in_the_weights_do():
    model, x = base(), torch.randn(2, *SHAPE)
    network = prunable_network(model, SHAPE)
    masks = {"blocks.0.attn": torch.ones(2, 48), "blocks.1.ffn": torch.ones(192)}
    masks["blocks.0.attn"][1, 11], masks["blocks.1.ffn"][100] = 0, 0
    found = network.forward_masked(x, masks)
    model.blocks[1].mlp.fc2.weight[:, 100] = 0
    torch.testing.assert_close(found[:1], model(x[:1]), rtol=1e-4, atol=1e-5)
    for part in range(3):
        model.blocks[0].attn.qkv.weight[48 * part + 11] = 0
        model.blocks[0].attn.qkv.bias[48 * part + 11] = 0
    torch.testing.assert_close(found[1:], model(x[1:]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_logits_from_the_middle_are_those_from_the_start():
    network, x = prunable_network(base(pre_norm=True), SHAPE), torch.randn(2, *SHAPE)
    for group, count in network.units().items():
        mask = {group: torch.rand(2, count).round()}
        found = network.forward_from(network.tokens_before(group, x), group, mask)
        torch.testing.assert_close(found, network.forward_masked(x, mask))
        assert not torch.allclose(found, network.model(x))


def test_equally_many_dimensions_of_each_run_of_heads():
    network = prunable_network(base(), SHAPE)
    for k in range(1, 7):
        kept, _ = chosen(network, k)
        assert {group: len(units) for group, units in kept.items()} == {
            group: 32 * k if group.endswith("ffn") else 8 * k for group in network.units()
        }
        assert all(units.dtype == torch.int64 and (units.diff() > 0).all() for units in kept.values())
    runs = {4: (0, 16, 32, 40, 48), 5: (0, 16, 24, 32, 40, 48)}
    for k, edges in runs.items():
        units = chosen(network, k)[0]["blocks.1.attn"]
        assert torch.bucketize(units, torch.tensor(edges[1:]), right=True).bincount().tolist() == [8] * k


def test_the_best_are_kept():
    network = prunable_network(base(), SHAPE)
    scores = {group: -torch.arange(float(count)) for group, count in network.units().items()}
    kept = network.select_units(scores, 3)
    assert kept["width"].tolist() == list(range(24)) and kept["blocks.0.ffn"].tolist() == list(range(96))
    assert kept["blocks.1.attn"].tolist() == [*range(8), *range(16, 24), *range(32, 40)]


def test_heads_rows_and_falling_parameters():
    model = base(classes=5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network = prunable_network(model, SHAPE)
    counts = []
    for k in range(1, 7):
        kept, _ = chosen(network, k)
        small = network.shrink(kept, k, [3, 1], rest=True)
        weight, bias = before["head.weight"][:, kept["width"]], before["head.bias"]
        others = [0, 2, 4]
        torch.testing.assert_close(small.head.weight, torch.stack([weight[others].mean(0), weight[3], weight[1]]))
        torch.testing.assert_close(small.head.bias, torch.stack([bias[others].mean(), bias[3], bias[1]]))
        assert torch.equal(network.shrink(kept, k, [3, 1], rest=False).head.bias, bias[[3, 1]])
        counts.append(parameters(small))
    assert counts == sorted(set(counts)) and counts[1] < counts[5] / 6
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.requires_grad and p.is_contiguous() for p in small.parameters())


def test_drawing_no_random_numbers():
    network = prunable_network(base(), SHAPE)
    state = torch.get_rng_state()
    network.shrink(chosen(network, 2)[0], 2, [0], rest=True)
    assert torch.equal(state, torch.get_rng_state())


def test_it_stays_a_timm_vit():
    model = scrambled(timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5, depth=2))
    network = prunable_network(model, SHAPE)
    small = network.shrink(chosen(network, 2)[0], 2, [1, 2], rest=True)
    assert type(small) is VisionTransformer
    args = {"img_size": 32, "num_classes": 3, "embed_dim": 128, "num_heads": 2, "depth": 2}
    theirs = timm.create_model("vit_tiny_patch16_224", **args)
    theirs.load_state_dict(small.state_dict(), strict=True)
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(theirs.eval()(x), small.eval()(x))


@pytest.mark.parametrize("kind", KINDS)
def test_its_description_survives_json(kind):
    network = prunable_network(base(**KINDS[kind]), SHAPE)
    again = ModelConfig.model_validate_json(network.geometry(2).model_dump_json())
    small = network.shrink(chosen(network, 2)[0], 2, [1, 2], rest=False)
    twin = build(again, 2, SHAPE)
    twin.load_state_dict(small.state_dict())
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(twin.eval()(x), small.eval()(x))


PLAIN = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 6, "num_classes": 5}


@pytest.mark.parametrize(
    ("args", "part"),
    [
        ({"qk_norm": True}, "normalized queries and keys (qk_norm)"),
        ({"scale_attn_norm": True}, "a norm after attention (scale_attn_norm)"),
        ({"scale_mlp_norm": True}, "a norm in the MLP (scale_mlp_norm)"),
        ({"mlp_layer": SwiGLU}, "blocks of Block, Attention, SwiGLU"),
        ({"block_fn": ResPostBlock}, "blocks of ResPostBlock, Attention, Mlp"),
        ({"attn_layer": "diff"}, "blocks of Block, DiffAttention, Mlp"),
        ({"global_pool": "map"}, "attention pooling"),
        ({"global_pool": "", "num_classes": 0}, "the pooling ''"),
        ({"num_classes": 0}, "no head"),
        ({"norm_layer": RmsNorm}, "norms of RmsNorm"),
        ({"norm_layer": partial(nn.LayerNorm, elementwise_affine=False)}, "norms of LayerNorm"),
        ({"embed_norm_layer": "layernorm"}, "a norm after the patches (embed_norm_layer)"),
        ({"act_layer": nn.ELU}, "the activation ELU"),
        ({"patch_size": 6}, "patches of (6, 6), which leave out the edge of images of (32, 32)"),
        ({"img_size": 64}, "images of (3, 64, 64) instead of (3, 32, 32)"),
    ],
)
def test_parts_that_are_not_sliced_are_refused_by_name(args, part):
    model = VisionTransformer(**{**PLAIN, **args})
    with pytest.raises(ModelError) as err:
        prunable_network(model, SHAPE)
    text = str(err.value)
    assert text.startswith(f"sub-models cannot be cut out of VisionTransformer: it has {part}")
    assert text.endswith("; use a plain ViT") and "\n" not in text


def test_gates_and_unknown_parameters_are_refused():
    model = VisionTransformer(**PLAIN)
    model.blocks[0].attn.gate = nn.Linear(48, 48)
    with pytest.raises(ModelError, match="it has gated attention; use a plain ViT"):
        prunable_network(model, SHAPE)
    model.blocks[0].attn.gate = None
    model.blocks[1].scale = nn.Parameter(torch.ones(48))
    with pytest.raises(ModelError, match=r"differ from those of a plain ViT .* in blocks.1.scale \(48,\); use a"):
        prunable_network(model, SHAPE)
    with pytest.raises(ModelError, match="it has the additions of VisionTransformerDistilled"):
        prunable_network(timm.create_model("deit_tiny_distilled_patch16_224", img_size=32), SHAPE)
