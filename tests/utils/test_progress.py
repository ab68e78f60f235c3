"""Progress is logged, and printed on request."""

from __future__ import annotations

import logging

import pytest

from raysplit.utils.progress import show_progress


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


def test_other_libraries_stay_as_they_are(logger, capsys):
    show_progress()
    logging.getLogger("torch").info("a line of torch's")
    assert capsys.readouterr().out == ""
