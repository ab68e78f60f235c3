import pytest
import torch
from torch import nn

from raysplit.errors import ModelError
from raysplit.split import trace
from tests.split.networks import NETWORKS, SHAPE


def test_the_model_is_neither_run_nor_changed():
    model = NETWORKS["resnet18"]().eval()
    model.layer1.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    trace(model, SHAPE)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training and model.layer1[0].bn1.training


@pytest.mark.parametrize("name", ["vit_timm", "deit"])
def test_optional_arguments_do_not_become_inputs(name):
    traced = trace(NETWORKS[name](), SHAPE)
    for mode in (traced.train, traced.eval):
        assert [node.target for node in mode.nodes if node.op == "placeholder"] == ["x"]


def test_each_mode_has_its_own_graph():
    class Functional(nn.Module):
        def forward(self, x):
            return torch.dropout(x, 0.5, self.training)

    traced = trace(Functional(), SHAPE)
    assert [[n.args[2] for n in m.nodes if n.op == "call_function"] for m in (traced.train, traced.eval)] == [
        [True],
        [False],
    ]


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Pixels(nn.Module):
    def forward(self, x):
        return x[x > 0]


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Branch(), "TraceError: symbolically traced variables cannot be used as inputs to control flow"),
        (Pixels(), "RuntimeError|NotImplementedError"),
        (TwoInputs(), "TypeError: .* missing 1 required positional argument: 'y'"),
        (nn.Sequential(nn.Conv2d(4, 4, 1)), "RuntimeError: .*channel"),
    ],
)
def test_a_model_that_cannot_be_traced_says_why_on_one_line(model, reason):
    name = type(model).__name__
    with pytest.raises(ModelError, match=f"^model {name} cannot be traced on images of 3×64×64: ({reason})") as err:
        trace(model, SHAPE)
    assert "\n" not in str(err.value)
