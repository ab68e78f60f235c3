import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from raysplit.config import ModelConfig
from raysplit.errors import ModelError
from raysplit.models import build

SMALL = {"patch": 7, "width": 24, "depth": 2, "heads": 3}


def vit(shape=(1, 28, 28), **args):
    return build(ModelConfig(name="vit", args={**SMALL, **args}), 5, shape)


@pytest.mark.parametrize(
    ("shape", "args", "tokens"),
    [((1, 28, 28), {}, 17), ((3, 32, 32), {"patch": 4}, 65), ((3, 32, 64), {"patch": [8, 16], "reg_tokens": 3}, 20)],
)
def test_three_part_call(shape, args, tokens):
    model, x = vit(shape, **args).eval(), torch.randn(2, *shape)
    z = model.forward_features(x)
    assert z.shape == (2, tokens, 24)
    features = model.forward_head(z, pre_logits=True)
    assert features.shape == (2, 24)
    assert torch.equal(model.head(features), model(x)) and model(x).shape == (2, 5)


def test_it_is_the_net_that_timm_has_by_a_name():
    args = {"patch": 16, "width": 192, "depth": 12, "heads": 3}
    ours = build(ModelConfig(name="vit", args=args), 5, (3, 32, 32)).eval()
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x))
    assert type(ours) is type(theirs) is VisionTransformer and ours.name == "vit"


def test_other_keywords_reach_timm():
    model = vit(mlp_ratio=2.5, norm_eps=1e-3, init_values=0.1, global_pool="avg", act_layer="relu", drop_path_rate=0.2)
    block = model.blocks[1]
    assert (block.mlp.fc1.out_features, block.norm2.eps, model.fc_norm.eps) == (60, 1e-3, 1e-3)
    assert torch.equal(block.ls1.gamma, torch.full((24,), 0.1)) and isinstance(block.mlp.act, torch.nn.ReLU)
    assert block.drop_path1.drop_prob == pytest.approx(0.2) and model.global_pool == "avg"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"mlp_ration": 2}, "model vit takes no argument 'mlp_ration'. Nearest: mlp_ratio"),
        ({"heads": 5}, "model vit cannot be built: AssertionError: dim should be divisible by num_heads"),
    ],
)
def test_errors_name_the_fault(args, text):
    with pytest.raises(ModelError) as err:
        vit(**args)
    assert str(err.value).startswith(text)


def test_a_missing_argument_and_a_near_name():
    with pytest.raises(ModelError, match="^model vit cannot be built: .*'width'"):
        build(ModelConfig(name="vit", args={"patch": 7, "depth": 2, "heads": 3}), 5, (1, 28, 28))
    with pytest.raises(ModelError, match="there is no model 'vti'. Nearest: .*vit"):
        build(ModelConfig(name="vti"), 5, (1, 28, 28))
