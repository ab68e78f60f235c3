"""Progress is logged, and printed on request."""

from __future__ import annotations

import logging

import pytest

from raysplit.utils.progress import show_progress, show_progress_by_default


@pytest.fixture
def logger():
    """The package's logger, restored afterwards."""
    logger = logging.getLogger("raysplit")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield logger
    logger.handlers, logger.level, logger.propagate = before[0], before[1], before[2]


def test_progress_is_printed_once_a_plain_line_each(logger, capsys):
    log = logging.getLogger("raysplit.train.trainer")
    log.info("epoch 0/2")
    show_progress()
    show_progress()
    log.info("epoch 1/2")
    log.debug("a detail")
    assert capsys.readouterr().out == "epoch 1/2\n"


def test_progress_is_shown_where_no_logging_is_set_up(logger, capsys, monkeypatch):
    root, log = logging.getLogger(), logging.getLogger("raysplit.train.local")
    theirs = logging.NullHandler()
    monkeypatch.setattr(root, "handlers", [theirs])
    show_progress_by_default()
    log.info("theirs to show")
    monkeypatch.setattr(root, "handlers", [])
    show_progress_by_default()
    log.info("epoch 1/2")
    assert capsys.readouterr().out == "epoch 1/2\n"


def test_other_libraries_stay_as_they_are(logger, capsys):
    show_progress()
    logging.getLogger("torch").info("a line of torch's")
    assert capsys.readouterr().out == ""
