"""What every trainer of Ray Train needs: a config that travels, the user's working directory, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from raysplit import errors
from raysplit.errors import RaysplitError
from raysplit.utils.interrupts import Interrupts
from raysplit.utils.user_code import USER_MODULE

if TYPE_CHECKING:
    from ray.train import Result
    from ray.train.torch import TorchTrainer


def fit(trainer: TorchTrainer, location: str) -> Result:
    """Return the result of `trainer.fit()`; its workers stay in the working directory, so that relative paths work.

    Ray Train ends the process on Ctrl-C, or the run as if it had come to its end; here it raises KeyboardInterrupt with
    `location`, the folder to resume. The signal handler that Ray Train leaves behind is removed, so that a later Ctrl-C
    works as usual.
    """
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(location):  # to the end: Ray Train's handler drops a Ctrl-C that comes after its own end
        try:
            return trainer.fit()
        except SystemExit:
            raise KeyboardInterrupt(location) from None
        finally:
            # None: a handler that Python did not install and cannot restore.
            if before is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class WorkerFault:
    """A RaysplitError of a worker, as it travels to the driver.

    >>> WorkerFault.of(errors.DataError("there are no images")).to_error()
    DataError('there are no images')
    """

    type: str
    """The name of its class in `raysplit.errors`."""
    text: str

    @classmethod
    def of(cls, err: RaysplitError) -> WorkerFault:
        """Return the record of an error."""
        return cls(type(err).__name__, str(err))

    @classmethod
    def from_json(cls, text: bytes) -> WorkerFault:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> bytes:
        """Return the record as a JSON object."""
        return json.dumps(asdict(self)).encode()

    def to_error(self) -> RaysplitError:
        """Return the error again."""
        error: RaysplitError = getattr(errors, self.type, RaysplitError)(self.text)
        return error


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
