"""Ctrl-C around Ray Train."""

from __future__ import annotations

import signal
import sys

import pytest

from raysplit.interrupt import resumable


def test_an_exit_is_an_interrupt_that_names_the_folder_and_rays_handler_is_gone():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="^runs/one$"), resumable("runs/one"):
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))  # as Ray Train does
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_faults_pass_and_the_handler_is_put_back_too():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="theirs"), resumable("runs/one"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise ValueError("theirs")
    assert signal.getsignal(signal.SIGINT) is before
