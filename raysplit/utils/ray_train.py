"""What every trainer of Ray Train needs: a config that travels, the user's working directory, Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from raysplit.utils.user_code import USER_MODULE

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


def pickle_config(config: Any) -> bytes:
    """Pickle a config for another process of the cluster, with the objects that it holds in memory.

    Classes that come from a user's file, which no other process can import, travel with it; those of modules are
    imported there.
    """
    from ray import cloudpickle

    own = [module for name, module in sys.modules.items() if name.startswith(USER_MODULE)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        pickled: bytes = cloudpickle.dumps(config)
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)
    return pickled
