"""Write golden.json anew, after a change that is meant to change numbers: python -m tests.train.make_golden"""

from __future__ import annotations

import json
from pathlib import Path

from raysplit.train.local_device import LocalDevice
from raysplit.train.loop import Loop
from tests.train.recipes import squeezed_config

FIXED = ("up_labels", "up_headers", "down_headers")
PACKED = ("up_activations", "down_gradients")


def measure() -> dict[str, list]:
    """Return per-step losses, and per-epoch bytes by kind, of the tiny run."""
    config, losses = squeezed_config(), []
    loop = Loop(config, LocalDevice(config), lambda epoch, step, steps, loss: losses.append(loss))
    records = list(loop.epochs())
    return {
        "losses": losses,
        "fixed_bytes": [[getattr(record.bytes, kind) for kind in FIXED] for record in records],
        "packed_bytes": [sum(getattr(record.bytes, kind) for kind in PACKED) for record in records],
    }


if __name__ == "__main__":
    Path(__file__).with_name("golden.json").write_text(json.dumps(measure(), indent=1) + "\n")
