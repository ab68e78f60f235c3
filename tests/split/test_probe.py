import pytest
import torch
from torch import fx, nn

from raysplit.split.probe import Probe, copy_to_meta, find_tensors, on_meta, storage_bytes


def test_copy_to_meta_keeps_names_ties_and_gradient_flags():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    twin = copy_to_meta(model)
    assert twin.state_dict().keys() == model.state_dict().keys()
    assert all(t.is_meta for t in twin.state_dict().values())
    assert twin[2].weight is twin[0].weight and not twin[0].bias.requires_grad
    assert not model[0].weight.is_meta


def test_on_meta_puts_the_attention_fast_path_back():
    for enabled in (False, True):
        torch.backends.mha.set_fastpath_enabled(enabled)
        with on_meta():
            assert not torch.backends.mha.get_fastpath_enabled()
        assert torch.backends.mha.get_fastpath_enabled() == enabled


def test_tensors_are_found_in_containers():
    a, b = torch.zeros(1), torch.zeros(2)
    assert [t.numel() for t in find_tensors({"x": [a, (b, 3)], "y": None})] == [1, 2]


def test_views_share_a_storage():
    a = torch.zeros(4, 4)
    assert storage_bytes((a, a[0], a.t())) == storage_bytes(a)
    assert list(storage_bytes(a).values()) == [64]


def test_in_place_writes_are_seen_through_views():
    model = nn.Sequential(nn.Linear(4, 4), nn.Flatten(), nn.ReLU(inplace=True), nn.ReLU())
    graph = fx.symbolic_trace(model).graph
    probe = Probe(copy_to_meta(model), graph)
    values = probe((1, 1, 4), batch=2)
    _, linear, flatten, inplace, plain, _ = graph.nodes
    assert probe.written[inplace] == set(storage_bytes(values[linear])) == set(storage_bytes(values[flatten]))
    assert not probe.written[flatten] and not probe.written[plain]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("norm", "size"),
    [(nn.BatchNorm1d, ()), (nn.BatchNorm1d, (5,)), (nn.BatchNorm2d, (5, 5)), (nn.BatchNorm3d, (2, 2, 2))],
)
def test_a_batch_norm_gives_what_torch_does(norm, size, training):
    model = nn.Sequential(norm(4).bfloat16()).train(training)
    meta = copy_to_meta(model)
    with on_meta():
        out = Probe(meta, fx.symbolic_trace(meta).graph).run(torch.empty(2, 4, *size, dtype=torch.bfloat16))
    expected = model(torch.ones(2, 4, *size, dtype=torch.bfloat16))
    assert out.is_meta
    assert (out.shape, out.dtype, out.stride()) == (expected.shape, expected.dtype, expected.stride())


@pytest.mark.parametrize("shape", [(2, 5, 3, 3), (2, 4, 3)])
def test_a_batch_norm_on_something_else_is_refused(shape):
    model = copy_to_meta(nn.Sequential(nn.BatchNorm2d(4)))
    with pytest.raises((RuntimeError, ValueError)), on_meta():
        Probe(model, fx.symbolic_trace(model).graph).run(torch.empty(shape))
