"""What of a half crosses to be averaged with those of other devices, or to be handed on to the next one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from raysplit.compress.quantizing_codec import QuantizingCodec, extract
from raysplit.config import UNCOMPRESSED
from raysplit.torch_utils.optim import HalfOptimizer
from raysplit.wire.message import Kind, Message

_CODEC = QuantizingCodec(UNCOMPRESSED, "up")


class SharedWeights:
    """Packs and loads the trained weights of a module and, if asked for, its buffers and its optimizer's moments.

    Frozen parameters are those that the network started from, on every device, and do not cross; neither do whole
    numbers (batch norm counts its batches, which nothing here depends on). Messages are fp32.

    >>> from raysplit.config import TrainConfig
    >>> one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> shared = [SharedWeights(net, HalfOptimizer(net, TrainConfig(), 1, False), True, True) for net in (one, other)]
    >>> shared[1].load(shared[0].pack())
    >>> torch.equal(one.weight, other.weight)
    True
    """

    def __init__(self, module: nn.Module, optimizer: HalfOptimizer, buffers: bool, moments: bool):
        self._optimizer, self._moments = optimizer, moments
        self._fixed: list[torch.Tensor] = [p for p in module.parameters() if p.requires_grad]
        if buffers:
            self._fixed += [buffer for buffer in module.buffers() if buffer.is_floating_point()]

    def pack(self) -> Message:
        """Return the message of kind WEIGHTS."""
        parts = [tensor.detach().reshape(-1).to("cpu", torch.float32) for tensor in self._tensors()]
        return pack_vector(torch.cat(parts) if parts else torch.zeros(0))

    @torch.no_grad()
    def load(self, message: Message) -> None:
        """Take what `pack` packed for a module like this one; WireError for a message of another size."""
        tensors = self._tensors()
        sizes = [tensor.numel() for tensor in tensors]
        vector = extract(message.expect(Kind.WEIGHTS, 0, (sum(sizes),)))
        for tensor, part in zip(tensors, vector.split(sizes), strict=True):
            tensor.copy_(part.view(tensor.shape))

    @property
    def bytes(self) -> int:
        """Bytes of the message; 0 where nothing is trained."""
        tensors = self._tensors()
        return _CODEC.estimate((sum(tensor.numel() for tensor in tensors),)).bytes if tensors else 0

    def _tensors(self) -> list[torch.Tensor]:
        return self._fixed + (self._optimizer.moments() if self._moments else [])


def pack_vector(vector: torch.Tensor) -> Message:
    """Return the message of kind WEIGHTS for a float32 vector."""
    return _CODEC.compress(vector).of(Kind.WEIGHTS)


def average(messages: Sequence[Message], weights: Sequence[int]) -> Message:
    """Return the weighted mean of some messages that `SharedWeights.pack` packed.

    It is summed in float64 and rounded once. That of a single message is that message.

    >>> packed = [pack_vector(torch.tensor(values)) for values in ([1.0, 4.0], [5.0, 8.0])]
    >>> extract(average(packed, weights=[3, 1]))
    tensor([2., 5.])
    """
    if len(messages) == 1:
        return messages[0]
    total = torch.zeros(messages[0].shape, dtype=torch.float64)
    for message, weight in zip(messages, weights, strict=True):
        total += weight * extract(message).to(torch.float64)
    return pack_vector((total / sum(weights)).to(torch.float32))
