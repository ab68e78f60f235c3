"""Class labels as messages, in as few bytes as the number of classes allows."""

from __future__ import annotations

import torch

from raysplit.errors import WireError
from raysplit.wire.message import Kind, Message


def pack_labels(labels: torch.Tensor, batch: int, classes: int) -> Message:
    """Return the message for int64 class labels, shape (n,), in as few bytes each as `classes` needs: 1, 2 or 4.

    >>> len(pack_labels(torch.tensor([3, 1, 2]), batch=0, classes=1000).body)
    6
    """
    dtype, bits = next(
        (dtype, bits)
        for dtype, bits, limit in (
            (torch.uint8, 8, 1 << 8),
            (torch.int16, 16, 1 << 15),
            (torch.int32, 32, 1 << 31),
        )
        if classes <= limit
    )
    return Message(Kind.LABELS, batch, tuple(labels.shape), dtype, bits, labels.to(dtype).numpy().tobytes())


def extract_labels(message: Message) -> torch.Tensor:
    """Return the int64 labels, shape (n,), of a message; WireError for one that `pack_labels` did not make.

    >>> extract_labels(pack_labels(torch.tensor([3, 1, 2]), batch=0, classes=10)).tolist()
    [3, 1, 2]
    """
    width = {torch.uint8: 1, torch.int16: 2, torch.int32: 4}.get(message.dtype)
    plain = len(message.shape) == 1 and not message.zstd and message.channels is None and message.top is None
    if width is None or not plain or len(message.body) != width * message.shape[0]:
        raise WireError(f"labels of dtype {message.dtype} in {len(message.body)} bytes do not fit {message.shape}")
    if not message.body:
        return torch.zeros(0, dtype=torch.int64)
    return torch.frombuffer(bytearray(message.body), dtype=message.dtype).to(torch.int64)
