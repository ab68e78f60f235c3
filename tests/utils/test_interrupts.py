"""A Ctrl-C stays one, whatever becomes of the exception."""

from __future__ import annotations

import contextlib
import pickle
import signal
import threading

import pytest

from raysplit.utils.interrupts import Interrupts


class Dropping:
    """Python drops what a destructor raises."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def drop_in_destructor():
    one = Dropping()
    del one


def drop_by_except():
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def drop_by_handler():
    before = signal.signal(signal.SIGINT, lambda *_: None)
    signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def turn_into_another_error():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("theirs") from None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "drop",
    [
        lambda: signal.raise_signal(signal.SIGINT),
        drop_in_destructor,
        drop_by_except,
        drop_by_handler,
        turn_into_another_error,
    ],
)
def test_a_dropped_interrupt_is_raised_at_the_end(drop):
    with pytest.raises(KeyboardInterrupt, match="^runs/one$"), Interrupts("runs/one"):
        drop()
    with Interrupts("runs/two"):
        pass  # the next one knows nothing of it


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_long_job_asks_on_its_way():
    steps = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        for step in range(3):
            interrupts.check()
            steps.append(step)
            drop_in_destructor()
    assert steps == [0]


def test_other_errors_and_signals_pass():
    with pytest.raises(ValueError, match="theirs"), Interrupts():
        raise ValueError("theirs")
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGUSR1)
        interrupts.check()
    signal.signal(signal.SIGUSR1, before)
    with pytest.raises(KeyboardInterrupt, match="^from inside$"), Interrupts("from outside"):
        raise KeyboardInterrupt("from inside")


def test_in_a_thread():
    found = []

    def run():
        with Interrupts() as interrupts:
            interrupts.check()
            found.append("done")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == ["done"]


def test_a_copy_for_another_process_remembers_nothing():
    with Interrupts("runs/one") as interrupts:
        pickle.loads(pickle.dumps(interrupts)).check()
