"""Freeze-and-cache on digits, and a device that writes down what crosses."""

from __future__ import annotations

from typing import Any

from raysplit.config import BottleneckConfig, FreezeAndCache, LocalLoss, SplitConfig, Stage, TrainConfig
from raysplit.train.device import Finished
from raysplit.train.local_device import LocalDevice
from raysplit.wire.message import Message, parse
from tests.train.recipes import plain_config

HEAD = LocalLoss(width=8, layers=1)


def freezing_config(epochs: int, local: bool = True, finish: bool = False, **train: Any) -> SplitConfig:
    """One epoch alone (or joint), two views sent, the others from the cache, the last one together if asked."""
    stages = {
        "learn": Stage(level="c2.b4/b4", share=1),
        "send": Stage(level="c4.b8/b8", share=epochs - 1 - finish, lr_scale=0.5),
        "finish": Stage(level="c4.b4/b2", share=1, lr_scale=0.1) if finish else None,
    }
    plain = plain_config()
    settings = {"epochs": epochs, "local_loss": HEAD if local else None, **train}
    return plain.replaced(
        name="digits_vgg11_frozen",
        bottleneck=BottleneckConfig(start="random", order="learned"),
        schedule=FreezeAndCache(views=2, **stages),
        train=TrainConfig.model_validate(plain.train.model_dump() | settings),
    )


class Tap:
    """A local device; `calls` holds (method, arguments, answer) since it was last emptied."""

    def __init__(self, config: SplitConfig):
        self.local = LocalDevice(config)
        self.calls: list[tuple[str, tuple, Any]] = []

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any) -> Finished[Any]:
            answer = getattr(self.local, method)(*args).result()
            self.calls.append((method, args, answer))
            return Finished(answer)

        return call

    def methods(self) -> set[str]:
        return {method for method, _, _ in self.calls}

    def down(self) -> list[bytes]:
        """What training brought to the device."""
        return [args[0] for method, args, _ in self.calls if method in ("exchange", "backward")]

    def up(self) -> list[tuple[Message, Message]]:
        """The activation and labels of each training micro-batch."""
        sent = [answer for method, _, answer in self.calls if method in ("forward", "exchange")]
        return [(parse(uplink.activation), parse(uplink.labels)) for uplink in sent]
