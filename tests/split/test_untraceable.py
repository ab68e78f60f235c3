"""Hooks are kept or refused, compiled and wrapped networks refused, and an error of tracing names module and line."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
from torch import nn

from raysplit.errors import ModelError
from raysplit.split import find_cuts, split_at, trace

SHAPE = (3, 8, 8)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), block, nn.Flatten(), nn.Linear(256, 5))


FORWARD_HOOKS = {
    "forward": lambda m: m.register_forward_hook(lambda module, args, output: output.sin()),
    "forward_with_kwargs": lambda m: m.register_forward_hook(
        lambda module, args, kwargs, output: output.cos() + len(kwargs), with_kwargs=True
    ),
    "always": lambda m: m.register_forward_hook(lambda module, args, output: output.exp(), always_call=True),
    "forward_pre": lambda m: m.register_forward_pre_hook(lambda module, args: (args[0].sin(),)),
    "forward_pre_with_kwargs": lambda m: m.register_forward_pre_hook(
        lambda module, args, kwargs: ((args[0].cos(),), kwargs), with_kwargs=True
    ),
}


@pytest.mark.parametrize("where", ["", "2", "2.0"])
@pytest.mark.parametrize("name", FORWARD_HOOKS)
def test_forward_hooks_are_kept(name, where):
    model, plain, x = net(), net(), torch.randn(4, *SHAPE)
    FORWARD_HOOKS[name](model.get_submodule(where))
    for cut in ("0", "2"):
        split = split_at(find_cuts(model, SHAPE), cut)
        for training in (True, False):
            for part in (model, plain, split.device, split.server):
                part.train(training)
            answer = split.server(split.device(x))
            assert torch.equal(answer, model(x)) and not torch.allclose(answer, plain(x))


BACKWARD_HOOKS = {
    "full_backward": lambda m: m.register_full_backward_hook(lambda module, down, up: None),
    "full_backward_pre": lambda m: m.register_full_backward_pre_hook(lambda module, up: None),
    "backward": lambda m: m.register_backward_hook(lambda module, down, up: None),
}


@pytest.mark.parametrize(("where", "named"), [("", "model Sequential"), ("2", "module '2' of model Sequential")])
@pytest.mark.parametrize("name", BACKWARD_HOOKS)
def test_backward_hooks_that_would_be_lost_are_refused(name, where, named):
    model = net()
    BACKWARD_HOOKS[name](model.get_submodule(where))
    with pytest.raises(ModelError, match=f"^{named} has a hook on its backward pass, which is lost .*: remove it, or"):
        trace(model, SHAPE)


def test_a_backward_hook_of_a_module_without_children_is_kept():
    model, seen = net(), []
    model[0].register_full_backward_hook(lambda module, down, up: seen.append(up[0].shape))
    split = split_at(find_cuts(model, SHAPE), "1")
    split.server(split.device(torch.randn(2, *SHAPE))).sum().backward()
    assert seen == [(2, 4, 8, 8)]


def inside(change):
    model = net()
    model[2] = change(model[2])
    return model


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda: torch.compile(net()), "^model OptimizedModule is compiled .*: return it uncompiled"),
        (lambda: inside(torch.compile), "^module '2' of model Sequential is compiled .*: return it uncompiled"),
        (lambda: net().compile() or compiled_in_place(), "^model Sequential is compiled"),
        (lambda: nn.DataParallel(net()), "^model DataParallel is wrapped in DataParallel: return the module within"),
        (lambda: inside(nn.DataParallel), "^module '2' of model Sequential is wrapped in DataParallel: .* `.module`"),
        (lambda: torch.jit.script(net()), "^model .* is TorchScript, which cannot be cut: return the module"),
        (lambda: inside(torch.jit.script), "^module '2' of model Sequential is TorchScript"),
    ],
)
def test_compiled_and_wrapped_networks_are_refused(model, text):
    with pytest.raises(ModelError, match=text):
        trace(model(), SHAPE)


def compiled_in_place():
    model = net()
    model.compile()
    return model


class Counting(nn.Module):
    """What people write: a statistic kept by an assignment, a branch on values, a loop over the batch."""

    def __init__(self, how: str):
        super().__init__()
        self.net, self.how = net(), how
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        y = self.net(x)
        if self.how == "assign":
            self.seen[0] = y.mean()  # line of assign
        if self.how == "branch" and y.mean() > 0:  # line of branch
            y = -y
        if self.how == "loop":
            y = torch.stack([one for one in y])  # line of loop
        if self.how == "number":
            y = y * float(y.mean())  # line of number
        return y


@pytest.mark.parametrize("how", ["assign", "branch", "loop", "number"])
@pytest.mark.parametrize("nested", [False, True])
def test_an_error_of_tracing_names_the_module_and_the_line_and_says_what_to_do(how, nested):
    source, first = inspect.getsourcelines(Counting)
    line = first + next(n for n, text in enumerate(source) if text.rstrip().endswith(f"# line of {how}"))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Counting(how)) if nested else Counting(how)
    place = "in module '1'" if nested else "in the network's own forward"
    message = re.escape(
        f"({place}, line {line} of {__file__.rpartition('/')[2]}); move what depends on the values into"
    )
    with pytest.raises(ModelError, match=message) as err:
        trace(model, SHAPE)
    assert "\n" not in str(err.value)


def test_a_layer_that_does_not_fit_is_named():
    with pytest.raises(ModelError, match=r"RuntimeError: .*channel.* \(in module '0'\)$"):
        trace(nn.Sequential(nn.Conv2d(4, 4, 1)), SHAPE)
