"""States without pickle: what comes out is what went in, and nothing else is read."""

from __future__ import annotations

import json
import pickle
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit.errors import WireError
from raysplit.torch_utils.checkpoint import pack_state, unpack_state
from raysplit.torch_utils.plain_state import MAGIC, pack_plain, unpack_plain
from tests.examples import examples

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
STATES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(STATES)
def test_plain_data_come_out_as_they_went_in(state):
    assert repr(unpack_plain(pack_plain(state))) == repr(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4, 5), (1, 1, 2)])
def test_tensors_come_out_with_values_and_layout(dtype, shape):
    tensor = (10 * torch.randn(shape)).to(dtype)
    turned = tensor.permute(tuple(reversed(range(tensor.ndim))))
    for one in (tensor, turned, tensor.expand(2, *shape)):
        (out,) = unpack_plain(pack_plain([one]))
        assert out.dtype == dtype and torch.equal(out, one)
    assert unpack_plain(pack_plain([turned]))[0].stride() == turned.stride() or turned.numel() < 2 or 1 in shape


def test_a_module_and_its_optimizer_go_on_to_the_bit():
    def step(net: torch.nn.Module, sgd: torch.optim.Optimizer) -> None:
        images = torch.arange(48.0).view(4, 3, 2, 2)
        net(images).square().mean().backward()
        sgd.step()
        sgd.zero_grad()

    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).to(
            memory_format=torch.channels_last
        )
        return net, torch.optim.Adam(net.parameters(), lr=0.1)

    net, adam = make()
    step(net, adam)
    packed = pack_plain({"net": net.state_dict(), "adam": adam.state_dict()})
    step(net, adam)
    other, again = make()
    state = unpack_state(packed)
    other.load_state_dict(state["net"])
    again.load_state_dict(state["adam"])
    step(other, again)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_states_of_earlier_versions_are_still_read():
    state = {"weights": torch.ones(2), "step": 3}
    assert str(unpack_state(pack_state(state))) == str(unpack_state(pack_plain(state))) == str(state)


def packed(head: object, blobs: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return MAGIC + struct.pack("<Q", len(text)) + text + blobs


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        MAGIC + b"\xff" * 8,
        pickle.dumps({}),
        packed(b"{"),
        packed({"a": 1}),
        packed(["x"]),
        packed([]),
        packed(["b", 5], b"abc"),
        packed(["b", -1]),
        packed(["b", 2], b"abc"),
        packed(["T", "float32", [2], [0]], b"abcd"),
        packed(["T", "float32", [-2, -1], [0, 1]], b"abcdefgh"),
        packed(["T", "object", [1], [0]], b"abcd"),
        packed(["T", "float32", [1], [1]], b"abcd"),
        packed(["T", "float32", [1], []], b"abcd"),
        packed(["d", [["l"], 1]]),
        packed(["d", [1]]),
        packed(b"[" * 100_000),
    ],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(WireError, match="not a packed state"):
        unpack_plain(data)


@examples(2000)
@given(
    st.one_of(
        st.binary(),
        st.binary().map(lambda tail: MAGIC + tail),
        st.lists(st.integers() | st.text()).map(json.dumps).map(str.encode).map(packed),
    )
)
def test_any_bytes_are_read_or_refused(data):
    try:
        unpack_plain(data)
    except WireError as err:
        assert str(err)


def test_a_state_holds_no_other_objects():
    with pytest.raises(TypeError, match="holds no object"):
        pack_plain({"a": object()})
