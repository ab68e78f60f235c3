"""How trainers of Ray Train are run: where the user is, and with Ctrl-C told as what it is."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.train import Result
    from ray.train.torch import TorchTrainer


def fit(trainer: TorchTrainer, location: str) -> Result:
    """Return what `trainer.fit()` does; its workers stay in the working directory, so that relative paths hold.

    After Ctrl-C, which Ray Train answers by ending the process, raises KeyboardInterrupt with `location`, the folder
    to go on from. The handler that it leaves behind is taken away again, so that a later Ctrl-C is one.
    """
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    before = signal.getsignal(signal.SIGINT)
    try:
        return trainer.fit()
    except SystemExit:
        raise KeyboardInterrupt(location) from None
    finally:
        # None: a handler that Python did not set, and cannot put back.
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
