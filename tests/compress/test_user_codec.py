"""A user's own codec, and what no codec may return."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from raysplit.compress import Estimate, QuantizingCodec, build_codec
from raysplit.config import Level, SplitConfig, loads, parse
from raysplit.errors import CodecError, ConfigError, WireError
from raysplit.utils.user_code import ObjectRecord, UserClass
from raysplit.wire.message import Kind, Message, header_size
from raysplit.wire.message import parse as read

PLAIN = {"name": "demo", "data": {"name": "digits"}, "model": {"name": "vgg11"}, "cut": "features.7"}


class Signs:
    """One bit a value, and the mean magnitude of the message."""

    def __init__(self, level, direction, channel_dim, scale=1.0):
        self.level, self.scale = level, scale
        self.kind = Kind.ACTIVATION if direction == "up" else Kind.GRADIENT

    def compress(self, tensor, batch=0, channels=None, seed=0, mask=None):
        x = tensor.detach().cpu().float()
        size = torch.tensor([x.abs().mean() * self.scale])
        bits = torch.cat([x.flatten() > 0, torch.zeros(-x.numel() % 8, dtype=torch.bool)])
        packed = (bits.reshape(-1, 8).to(torch.uint8) << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)
        body = size.numpy().tobytes() + packed.numpy().tobytes()
        return Message(self.kind, batch, tuple(tensor.shape), tensor.dtype, 1, body)

    def extract(self, message, mask=None):
        size = torch.frombuffer(bytearray(message.body[:4]), dtype=torch.float32)
        packed = torch.frombuffer(bytearray(message.body[4:]), dtype=torch.uint8)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        signs = bits.flatten()[: math.prod(message.shape)].float() * 2 - 1
        return (signs * size).reshape(message.shape).to(message.dtype)

    def estimate(self, shape):
        return Estimate(header_size(len(shape), 0) + 4 + -(-math.prod(shape) // 8), exact=True)


def test_none_is_the_packages_codec():
    assert build_codec(None, Level("c4.b4/b2"), "down", 2) == QuantizingCodec(Level("c4.b4/b2"), "down", 2)


@pytest.mark.parametrize("source", [Signs, partial(Signs, scale=2.0)], ids=["class", "partial"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_users_codec_over_the_wire(source, direction):
    codec = build_codec(source, Level("all.b1/b1"), direction)
    x = torch.randn(3, 5, 2).to(torch.bfloat16)
    message = codec.compress(x, batch=7)
    assert message.size == codec.estimate(x.shape).bytes == len(message.to_bytes())
    y = codec.extract(read(message.to_bytes()))
    assert y.dtype == x.dtype and torch.equal(y > 0, x > 0)


def test_a_codec_in_a_config():
    made = parse(SplitConfig, PLAIN | {"codec": Signs}, "recipe demo")
    assert made.codec is Signs and made.with_settings(["train.epochs=3"]).codec is Signs
    assert made.model_dump()["codec"] == {"kind": "object", "name": "Signs"}
    again = loads(SplitConfig, made.model_dump_json(), "record")
    assert again.codec == ObjectRecord(name="Signs")
    text = r"codec was an object in memory \(Signs\).* config.replaced\(codec=…\), or name it as path.py:Class"
    with pytest.raises(ConfigError, match=text):
        build_codec(again.codec, Level(), "up")
    named = made.with_settings(["codec=own.py:Signs", "codec.args.scale=2"])
    assert named.codec == UserClass(target="own.py:Signs", args={"scale": 2})
    assert loads(SplitConfig, named.model_dump_json(), "record") == named
    assert named.with_settings(["codec=null"]).codec is None
    assert parse(SplitConfig, PLAIN, "recipe demo").model_dump()["codec"] is None


class Mute:
    def __init__(self, level, direction, channel_dim): ...

    def compress(self, tensor, batch=0, channels=None, seed=0, mask=None): ...


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        (Mute, "codec: Mute is not a codec: it has no method extract, estimate"),
        (Signs(Level(), "up", 1), "codec: expected a codec's class, got an object of Signs"),
        (3, "codec: expected a codec's class, got an object of int"),
        ("signs", "codec.target: 'signs' is not of the form path.py:Class"),
        ({"target": "own.py:Signs", "arg": {}}, "codec: unknown key 'arg'. Nearest: args"),
    ],
)
def test_what_a_config_refuses(codec, text):
    with pytest.raises(ConfigError) as caught:
        parse(SplitConfig, PLAIN | {"codec": codec}, "recipe demo")
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_codec_in_a_file(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("class Mute:\n    def __init__(self, level, direction, channel_dim, scale=1): ...\n")
    with pytest.raises(CodecError, match=r"codec .*own.py:Mute has no method compress, extract, estimate"):
        build_codec(UserClass(target=f"{file}:Mute"), Level(), "up")
    with pytest.raises(ConfigError, match=r"own.py:Mute takes no argument 'scle'. Nearest: scale"):
        build_codec(UserClass(target=f"{file}:Mute", args={"scle": 1}), Level(), "up")
    with pytest.raises(ConfigError, match=r"own.py has no class 'Mut'. Nearest: Mute"):
        build_codec(UserClass(target=f"{file}:Mut"), Level(), "up")


def broken(**methods):
    """A codec like Signs in which a method returns something else."""

    class Broken(Signs):
        pass

    for name, method in methods.items():
        setattr(Broken, name, method)
    return build_codec(Broken, Level(), "up")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda m: m.to_bytes(), "compress must return a raysplit.wire.message.Message, it returned bytes"),
        (lambda m: m.of(Kind.GRADIENT), "compress must return a message of kind ACTIVATION, it returned GRADIENT"),
        (lambda m: replace(m, batch=1), "compress must return a message of batch 0, it returned 1"),
        (lambda m: replace(m, shape=(8,)), r"compress must return a message of shape \(2, 4\), it returned \(8,\)"),
        (
            lambda m: replace(m, dtype=torch.float16),
            "compress must return a message of dtype torch.float32, it returned torch.float16",
        ),
    ],
)
def test_messages_that_are_none(spoil, text):
    codec = broken(compress=lambda self, *given: spoil(Signs.compress(self, *given)))
    with pytest.raises(CodecError, match=f"codec Broken: {text}"):
        codec.compress(torch.randn(2, 4))


def test_tensors_and_estimates_that_are_none():
    message = build_codec(Signs, Level(), "up").compress(torch.randn(2, 4))
    with pytest.raises(CodecError, match="codec Broken: extract must return a tensor, it returned list"):
        broken(extract=lambda self, message, mask: [1.0]).extract(message)
    text = r"extract must return torch.float32 of shape \(2, 4\), it returned torch.float64 of shape \(8,\)"
    with pytest.raises(CodecError, match=text):
        broken(extract=lambda self, message, mask: torch.zeros(8, dtype=torch.float64)).extract(message)
    with pytest.raises(
        CodecError, match="codec Broken: estimate must return a raysplit.compress.Estimate, it returned"
    ):
        broken(estimate=lambda self, shape: 12).estimate((2, 4))


def test_a_message_that_the_codec_cannot_read():
    message = build_codec(Signs, Level(), "up").compress(torch.randn(2, 4))
    with pytest.raises(WireError, match="codec Signs cannot extract ACTIVATION 0 of 3 bytes: ValueError: "):
        build_codec(Signs, Level(), "up").extract(replace(message, body=b"abc"))
