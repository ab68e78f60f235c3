"""Weights as files: what is lost, what is saved, and what is refused."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from raysplit.config import ModelConfig
from raysplit.ensemble import weights_file
from raysplit.ensemble.weights_file import compute_dtype, pack, set_precision, unpack
from raysplit.errors import BundleError, DivergenceError
from raysplit.models import build
from raysplit.torch_utils.compute import warn_of_slow_bf16
from tests.examples import examples


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(64 * 36, 100))
        model(torch.randn(4, 3, 8, 8))
    return model.eval()


def test_fp32_is_exact(network):
    found = unpack(pack(network.state_dict(), "fp32"), "x")
    assert set(found) == set(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_what_comes_back_loads_and_answers_alike(network, precision):
    found = unpack(pack(network.state_dict(), precision), "x")
    assert {t.dtype for t in found.values()} == {torch.float32, torch.int64}
    other = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(64 * 36, 100)).eval()
    other.load_state_dict(found, strict=True)
    x = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        error = (other(x) - network(x)).norm() / network(x).norm()
    assert 0 < error < 0.02
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(found[name], network.state_dict()[name])


def test_files_get_smaller(network):
    sizes = {precision: len(pack(network.state_dict(), precision)) for precision in ("fp32", "bf16", "int8")}
    assert sizes["fp32"] / sizes["bf16"] == pytest.approx(2, rel=0.01)
    assert sizes["fp32"] / sizes["int8"] == pytest.approx(4, rel=0.02)


def test_an_int8_file_is_int8_weights_bf16_scales_and_the_rest(network):
    stored = load(pack(network.state_dict(), "int8"))
    assert {name: (str(t.dtype)[6:], tuple(t.shape)) for name, t in stored.items()} == {
        "0.weight": ("int8", (64, 3, 3, 3)),
        "0.weight.scale": ("bfloat16", (64,)),
        "0.bias": ("bfloat16", (64,)),
        "1.weight": ("bfloat16", (64,)),
        "1.bias": ("bfloat16", (64,)),
        "1.running_mean": ("float32", (64,)),
        "1.running_var": ("float32", (64,)),
        "1.num_batches_tracked": ("int64", ()),
        "3.weight": ("int8", (100, 2304)),
        "3.weight.scale": ("bfloat16", (100,)),
        "3.bias": ("bfloat16", (100,)),
    }


def test_tokens_and_positions_of_a_vit_have_no_common_scale():
    args = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    model = build(ModelConfig(name="timm:vit_tiny_patch16_224", args=args), 2, (3, 8, 8))
    stored = load(pack(model.state_dict(), "int8"))
    assert stored["pos_embed"].dtype == stored["cls_token"].dtype == torch.bfloat16
    assert stored["blocks.0.attn.qkv.weight"].dtype == torch.int8


@examples(100)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(-30, 30), st.integers(0, 999))
def test_int8_is_off_by_half_a_scale_at_most(rows, columns, exponent, seed):
    weight = torch.randn(rows, columns, 1, 2, generator=torch.Generator().manual_seed(seed)) * 10.0**exponent
    data = pack({"w": weight}, "int8")
    scale = load(data)["w.scale"].float()
    found = unpack(data, "x")["w"]
    assert ((found - weight).abs() <= scale.view(-1, 1, 1, 1) * 0.5001).all()
    largest = weight.abs().flatten(1).amax(1)
    assert torch.allclose(scale, largest / 127, rtol=2**-8, atol=0)


def test_every_row_has_a_scale_of_its_own():
    weight = torch.tensor([[1.0, 0.5], [1e-6, 5e-7], [0.0, 0.0]])
    found = unpack(pack({"w": weight}, "int8"), "x")["w"]
    assert torch.allclose(found, weight, rtol=0.01, atol=0)
    assert (found[2] == 0).all(), "a row of zeros stays one"


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (), (1, 3)])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_odd_shapes_come_back(shape, precision):
    weight = torch.full(shape, 0.5)
    assert torch.equal(unpack(pack({"w": weight}, precision), "x")["w"], weight)


def test_whatever_the_layout_and_dtype():
    x = torch.randn(4, 6, dtype=torch.float64).contiguous()
    given = {"a": x, "b": x, "t": x.T, "c": torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)}
    found = unpack(pack(given, "fp32"), "x")
    assert torch.equal(found["b"], x.float()) and torch.equal(found["t"], x.T.float())
    assert torch.equal(found["c"], given["c"])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_refused(precision, value):
    weights = {"good": torch.ones(2, 2), "blocks.0.weight": torch.tensor([[1.0, value], [1.0, 1.0]])}
    says = "^weight blocks.0.weight is not finite and cannot be stored; train again at a lower learning rate$"
    with pytest.raises(DivergenceError, match=says):
        pack(weights, precision)


def test_a_file_of_others_is_read_as_it_is():
    weights = {"a": torch.ones(3, 3).half(), "a.scale": torch.ones(3), "n": torch.tensor(3)}
    for metadata in (None, {"format": "pt"}):
        found = unpack(save(weights, metadata), "x")
        assert set(found) == set(weights) and found["a"].dtype == torch.float32 and found["n"] == 3


def test_an_unknown_version_is_refused_with_the_files_name():
    data = save({"a": torch.ones(1)}, {"raysplit": '{"version": 2}'})
    remedy = "use the raysplit that wrote it, or write it again"
    text = f"submodels/3.safetensors has format version 2, this raysplit reads 1; {remedy}"
    with pytest.raises(BundleError, match=f"^{text}$"):
        unpack(data, "submodels/3.safetensors")


def test_a_scale_that_does_not_fit_is_refused():
    stored = load(pack({"w": torch.ones(4, 4)}, "int8"))
    about = {"raysplit": '{"version": 1, "precision": "int8"}'}
    data = save({**stored, "w.scale": torch.ones(3)}, about)
    with pytest.raises(BundleError, match="^m.safetensors is damaged: w and its scale differ in rows"):
        unpack(data, "m.safetensors")


class Trace:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def pickles(path: str) -> dict[str, bytes]:
    """Return what torch.save has written over the years, and a bare pickle."""
    weights = OrderedDict(a=torch.ones(2), b=Trace(path))
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(weights, new)
    torch.save(weights, old, _use_new_zipfile_serialization=False)
    return {"zip": new.getvalue(), "old": old.getvalue(), "bare": pickle.dumps(weights)}


@pytest.mark.parametrize("kind", ["zip", "old", "bare"])
def test_a_pickle_is_refused_and_never_executed(tmp_path, kind):
    trace = tmp_path / "trace"
    data = pickles(str(trace))[kind]
    says = "^model.pt is a pickle, which can run any code and is not loaded; if you trust it, write its "
    with pytest.raises(BundleError, match=says):
        unpack(data, "model.pt")
    assert not trace.exists()
    if kind == "bare":
        pickle.loads(data)
        assert trace.exists(), "it would have left a trace"


@pytest.mark.parametrize(
    "data", [b"", b"short", b"\x00" * 100, b"{}", b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00[]"]
)
def test_other_content_is_refused(data):
    with pytest.raises(BundleError, match="^x.safetensors is not a safetensors file: .") as caught:
        unpack(data, "x.safetensors")
    assert "\n" not in str(caught.value)


def test_a_cut_off_file_is_refused(network):
    data = pack(network.state_dict(), "int8")
    with pytest.raises(BundleError, match="^m is not a safetensors file"):
        unpack(data[:-1], "m")


def test_lower_precisions_compute_in_bf16():
    assert [compute_dtype(p) for p in ("fp32", "bf16", "int8")] == [torch.float32, torch.bfloat16, torch.bfloat16]


def test_batch_norms_stay_in_fp32():
    net = set_precision(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)), "int8")
    assert net[0].weight.dtype == torch.bfloat16 and net[1].running_mean.dtype == torch.float32
    assert net(torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)).isfinite().all() and not net.training


@pytest.mark.parametrize(
    ("precision", "fast", "warns"), [("bf16", "fp32", 1), ("int8", "fp32", 1), ("int8", "bf16", 0), ("fp32", "fp32", 0)]
)
def test_a_sub_model_that_computes_slowly_is_said_once(monkeypatch, caplog, precision, fast, warns):
    monkeypatch.setattr(weights_file, "fast_precision", lambda: fast)
    warn_of_slow_bf16.cache_clear()
    for _ in range(2):
        set_precision(nn.Linear(2, 2), precision)
    assert ["bf16" in message for message in caplog.messages] == warns * [True]
