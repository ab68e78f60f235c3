"""What the server keeps, and how it is replayed."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from raysplit.compress.labels import extract_labels, pack_labels
from raysplit.compress.quantizing_codec import QuantizingCodec, extract
from raysplit.config import UNCOMPRESSED
from raysplit.data import load
from raysplit.train.activation_cache import ActivationCache, shift_codes
from raysplit.train.loop import Loop
from tests.train.freezing import Tap, freezing_config


def cache(views: int, messages: int) -> ActivationCache:
    """Message m of view v carries the value 100·v + m, and the label m."""
    made = ActivationCache()
    for view in range(views):
        made.new_view()
        for number in range(messages):
            z = torch.full((2, 1, 1, 1), 100.0 * view + number)
            made.add(
                QuantizingCodec(UNCOMPRESSED, "up").compress(z, number),
                pack_labels(torch.full((2,), number), number, 100),
            )
    return made


def values(replay) -> list[list[float]]:
    """The values of each group; each message is checked to come with its own labels."""
    groups = []
    for group in replay:
        for activation, labels in group:
            number = extract(activation).flatten()[0].item() % 100
            assert activation.batch == labels.batch == extract_labels(labels)[0] == number
        groups.append([extract(activation).flatten()[0].item() for activation, _ in group])
    return groups


@pytest.mark.parametrize("messages", [1, 15, 16, 17, 40])
@pytest.mark.parametrize(("turn", "view"), [(0, 0), (1, 1), (5, 1), (6, 0)])
def test_a_turn_replays_one_view_whole(messages, turn, view):
    groups = values(cache(2, messages).replay(turn, seed=7))
    assert sorted(itertools.chain(*groups)) == [100 * view + number for number in range(messages)]
    assert [len(group) for group in groups] == [16] * (messages // 16) + [messages % 16] * (messages % 16 > 0)


def test_the_seed_alone_decides_the_order():
    one = values(cache(1, 40).replay(0, seed=1))
    assert values(cache(1, 40).replay(0, seed=1)) == one
    assert values(cache(1, 40).replay(0, seed=2)) != one


def test_a_state_brings_everything_back_to_another_which_is_its_own():
    made, other = cache(2, 3), ActivationCache()
    made.validation[0] = [(b"z", b"y")]
    other.restore(made.state())
    made.new_view()
    made.validation.clear()
    assert values(other.replay(3, seed=1)) == values(made.replay(1, seed=1))
    assert other.validation == {0: [(b"z", b"y")]} and len(other.state()["views"]) == 2


def replayed(config) -> list[list[tuple[float, int]]]:
    """Code sum and label of each sample, in the order in which each epoch trained on it."""
    tap = Tap(config)
    loop, learned = Loop(config, tap), []
    learn = loop._server._train

    def watch(number, z, targets, level):
        learned.append((number, [(round(code, 3), label) for code, label in _pairs(z, targets[0])]))
        return learn(number, z, targets, level)

    loop._server._train = watch
    found = []
    for _ in loop.epochs():
        numbers = [number for number, _ in learned]
        assert numbers == sorted(set(numbers))
        found.append([pair for _, pairs in learned for pair in pairs])
        learned.clear()
    return found


def _pairs(z, target):
    return zip(z.detach().flatten(1).sum(1).tolist(), target.tolist(), strict=True)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_replay_has_each_sample_of_its_view_once_with_its_label(in_flight):
    config = freezing_config(epochs=6, in_flight=in_flight)
    config = config.replaced(schedule=config.schedule.replaced(shift=False))
    _, *epochs = replayed(config)
    views, cached = epochs[:2], epochs[2:]
    assert len(cached) == 3
    labels = Counter(load(config.data, "train").labels.tolist())
    for turn, epoch in enumerate(cached, start=3):
        assert Counter(epoch) == Counter(views[turn % 2]) and epoch != views[turn % 2]
        assert Counter(label for _, label in epoch) == labels
    assert cached[0] != cached[2], "the same view, mixed anew"
    assert replayed(config)[3:] == cached


def test_shifted_moves_each_sample_by_up_to_one_cell_and_repeats_edges():
    z = torch.arange(64 * 2 * 3 * 4, dtype=torch.float32).reshape(64, 2, 3, 4)
    padded = torch.nn.functional.pad(z, (1, 1, 1, 1), mode="replicate")
    views = [padded[:, :, dy : dy + 3, dx : dx + 4] for dy in range(3) for dx in range(3)]
    moved = shift_codes(z, seed=5)
    matches = torch.stack([(moved == view).flatten(1).all(1) for view in views])
    assert (matches.sum(0) == 1).all() and matches.any(1).all()
    assert torch.equal(moved, shift_codes(z, seed=5)) and not torch.equal(moved, shift_codes(z, seed=6))
