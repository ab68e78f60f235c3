"""The plain ViT is timm's: names, shapes and outputs, for every argument that it takes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from raysplit.config import ModelConfig
from raysplit.errors import ModelError
from raysplit.models import build
from raysplit.models.plain_vit import PlainViT
from raysplit.models.served import build_served
from tests.examples import examples

SMALL = {"patch": 4, "width": 24, "depth": 2, "heads": 3}
SHAPE = (2, 8, 12)
ARGUMENTS = {
    "mlp_ratio": st.sampled_from([4.0, 2.3]),
    "norm_eps": st.sampled_from([1e-6, 1e-3]),
    "act_layer": st.sampled_from(["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"]),
    "qkv_bias": st.booleans(),
    "proj_bias": st.booleans(),
    "init_values": st.sampled_from([None, 0.1]),
    "global_pool": st.sampled_from(["token", "avg", "avgmax", "max"]),
    "pool_include_prefix": st.booleans(),
    "reg_tokens": st.integers(0, 2),
    "pos_embed": st.sampled_from(["learn", "none"]),
    "no_embed_class": st.booleans(),
    "pre_norm": st.booleans(),
    "final_norm": st.booleans(),
    "fc_norm": st.sampled_from([None, True, False]),
    "patch_drop_rate": st.sampled_from([0.0, 0.5]),
    "drop_path_rate": st.sampled_from([0.0, 0.1]),
}


def timms(args: dict[str, object]) -> tuple[ModelConfig, nn.Module]:
    """Return a config and timm's network of it, with values of a size that matters."""
    config = ModelConfig(name="vit", args={**SMALL, **args})
    model = build(config, 5, SHAPE).eval()
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return config, model


@examples(60)
@given(st.fixed_dictionaries({}, optional=ARGUMENTS))
def test_it_computes_what_timm_does(args):
    config, theirs = timms(args)
    ours = build_served(config, 5, SHAPE, theirs.state_dict())
    assert type(ours) is PlainViT and not ours.training
    x = torch.randn(3, *SHAPE)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
        tokens = ours.forward_features(x)
        assert torch.equal(ours.forward_head(tokens, pre_logits=True), theirs.forward_head(tokens, pre_logits=True))


@pytest.mark.parametrize("args", [{}, {"class_token": False, "global_pool": "avg"}, {"patch": [2, 4]}])
def test_its_weights_load_in_timm(args):
    config, theirs = timms(args)
    ours = build_served(config, 5, SHAPE, theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) and ours.state_dict().keys() == theirs.state_dict().keys()
    x = torch.randn(1, *SHAPE)
    with torch.no_grad():
        assert torch.equal(ours.bfloat16()(x.bfloat16()), theirs.bfloat16()(x.bfloat16()))


@pytest.mark.parametrize("args", [{"qk_norm": True}, {"global_pool": "map"}, {"act_layer": "mish"}])
def test_other_arguments_are_timms(args):
    config, theirs = timms(args)
    ours = build_served(config, 5, SHAPE, theirs.state_dict())
    assert type(ours) is type(theirs)


@pytest.mark.parametrize("args", [{"heads": 5}, {"heads": 0}, {"width": -24}, {"patch": 5}, {"mlp_ration": 2}])
def test_faults_are_those_of_build(args):
    config = ModelConfig(name="vit", args={**SMALL, **args})
    with pytest.raises(ModelError) as expected:
        build(config, 5, SHAPE)
    with pytest.raises(ModelError) as err:
        build_served(config, 5, SHAPE, {})
    assert str(err.value) == str(expected.value)


def test_other_networks_are_built_as_ever():
    config = ModelConfig(name="vgg5", args={"width": 0.125})
    model = build(config, 5, (1, 16, 16))
    served = build_served(config, 5, (1, 16, 16), model.state_dict())
    assert type(served) is type(model) and not served.training
    with pytest.raises(RuntimeError, match="size mismatch"):
        build_served(config, 6, (1, 16, 16), model.state_dict())
