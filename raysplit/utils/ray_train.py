"""Run a trainer of Ray Train in the user's working directory, with Ctrl-C as a KeyboardInterrupt."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.train import Result
    from ray.train.torch import TorchTrainer


def fit(trainer: TorchTrainer, location: str) -> Result:
    """Return the result of `trainer.fit()`; its workers stay in the working directory, so that relative paths work.

    Ray Train ends the process on Ctrl-C; here it raises KeyboardInterrupt with `location`, the folder to resume. The
    signal handler that Ray Train leaves behind is removed, so that a later Ctrl-C works as usual.
    """
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    before = signal.getsignal(signal.SIGINT)
    try:
        return trainer.fit()
    except SystemExit:
        raise KeyboardInterrupt(location) from None
    finally:
        # None: a handler that Python did not install and cannot restore.
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
