"""The device side of training: it owns the data, the first half and the encoder. No Ray in here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from raysplit.compress.labels import pack_labels
from raysplit.compress.noise import add_noise
from raysplit.compress.quantizing_codec import positions
from raysplit.config import Level, SplitConfig
from raysplit.errors import CodecError, DivergenceError, WireError
from raysplit.schedules.base import Decision
from raysplit.torch_utils.checkpoint import unpack_state
from raysplit.torch_utils.compute import autocast, pick_device
from raysplit.torch_utils.layout import arrange_like
from raysplit.torch_utils.plain_state import pack_plain
from raysplit.torch_utils.seeds import mix, seeded
from raysplit.train.clip_votes import ClipVotes
from raysplit.train.codecs import Codecs
from raysplit.train.device import DeviceFacts, LocalScore, Score, Split, TailAnswer, Uplink
from raysplit.train.device_data import DeviceData
from raysplit.train.device_network import DeviceNetwork
from raysplit.train.device_parts import DeviceParts, build_parts
from raysplit.train.divergence import locate_step, require_finite_step
from raysplit.train.local_head import pack_head
from raysplit.train.own_loss import OwnLoss
from raysplit.train.own_states import keep_own_states
from raysplit.train.tail import make_tail_side
from raysplit.wire.message import Kind, Message, parse


class DeviceSide:
    """What a device does in a run, by the methods of `raysplit.train.device.Device`.

    Args:
        data: what device `index` has, where it is loaded.
        parts: its network, where it is built; it trains these modules.
    """

    def __init__(
        self, config: SplitConfig, index: int = 0, data: DeviceData | None = None, parts: DeviceParts | None = None
    ):
        self._train = config.train
        self._torch_device = pick_device(config.train.device)
        self._data = data or DeviceData(config, index)
        self._seed = self._data.seed
        self._classes, self._steps = len(self._data.classes), self._data.steps
        parts = parts or build_parts(config, self._classes, self._data.shape)
        net = self._net = DeviceNetwork(config, parts, self._steps)
        self._cut, self._weights, self._half, self._head = net.cut, net.weights, net.half, net.head
        self._trained, self._optimizer, self._shared = net.trained, net.optimizer, net.shared
        self._pending: dict[int, tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]] = {}
        self._decision = Decision(config.levels()[0], "before the first epoch")
        self._codecs = Codecs(config.codec, self._cut.channel_dim)
        self._codecs.at(self._decision.level, "up")  # a codec that cannot be built shows before training
        self._own: OwnLoss | None = None
        if self._head is not None:
            self._own = OwnLoss(config, self._head, self._codecs, self._cut.channel_dim, self._seed)
        self._after = make_tail_side(config, net.tail, net.back, self._seed)
        self._own_states = keep_own_states(config, index)
        self._many = config.devices.count > 1 and config.devices.kind == "real"
        self._begun, self._before, self._busy = -1, b"", 0.0
        self._votes = ClipVotes(None)

    def describe(self) -> DeviceFacts:
        """Return what the server must know of the data, which only the device may have, and of this machine."""
        return self._data.describe(self._weights, self._shared.bytes)

    def agree(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Normalize images by what the devices of the run agreed on."""
        self._data.normalization = (self._data.normalization[0], mean, std)

    def weights(self) -> bytes:
        """Return the packed weights message of what is averaged or handed on, in fp32."""
        with self._timing():
            message = self._shared.pack()
        return self._stamp(message).to_bytes()

    def adopt(self, weights: bytes) -> None:
        """Take the weights that were averaged, or that another device handed on."""
        with self._timing():
            self._shared.load(parse(weights))

    def begin_epoch(self, epoch: int, decision: Decision) -> None:
        """Shuffle, and change to the level that the schedule decided on.

        One of many devices begins an epoch that it has begun before, since another one was lost, from where it was.
        """
        if self._many and epoch == self._begun:
            self._go_back(self._before)
        elif self._many:
            self._begun, self._before = epoch, self._pack()
        with self._timing():
            self._data.shuffle(epoch)
        self._next = self._data.first
        self._pending.clear()
        if self._after is not None:
            self._after.begin()
        self._decision = decision
        first, epochs = decision.span or (0, self._train.epochs)
        self._optimizer.set_span(first * self._steps, epochs * self._steps, decision.lr_scale)
        if decision.fresh_optimizer:
            self._optimizer.reset()
        if self._half.encoder is not None and decision.reset_logits:
            generator = torch.Generator().manual_seed(mix(self._train.seed, "logits", epoch))
            self._half.encoder.reset_logits(generator)

    def forward(self) -> Uplink:
        """Send the next micro-batch.

        Raises DivergenceError for a local loss, or an activation without a code, that is NaN or infinite.
        """
        with self._timing(), self._locating(self._next):
            number, z, penalty, labels = self._encode()
            message = self._compress(z, number, self._level_of(number))
            if self._decision.mode == "joint":
                self._pending[number] = (z, penalty, positions(message))
            elif self._decision.mode == "local":
                assert self._own is not None
                self._apply(number, z, penalty, self._own.gradient(message, number, self._level_of(number), labels)[0])
        return self._send(message, labels)

    def answer(self, features: bytes) -> TailAnswer:
        """Train the tail on the features of a pending micro-batch, and return the gradient; WireError for any other."""
        message = parse(features)
        with self._timing(), self._locating(message.batch):
            assert self._after is not None
            gradient, score = self._after.train(message, self._level_of(message.batch))
        return TailAnswer(self._stamp(gradient).to_bytes(), score)

    def backward(self, gradient: bytes) -> None:
        """Take the gradient message of a pending micro-batch; WireError for any other."""
        message = parse(gradient)
        with self._timing(), self._locating(message.batch):
            if message.batch not in self._pending:
                raise WireError(f"gradient for micro-batch {message.batch}, which is not under way")
            z, penalty, mask = self._pending.pop(message.batch)
            message.expect(Kind.GRADIENT, message.batch, tuple(z.shape))
            codec = self._codecs.at(self._level_of(message.batch), "down")
            self._apply(message.batch, z, penalty, codec.extract(message, mask))

    def exchange(self, gradient: bytes) -> Uplink:
        """Take a gradient, then send the next micro-batch."""
        self.backward(gradient)
        return self.forward()

    def train_alone(self) -> LocalScore:
        """Train on the next step's images by the local loss; nothing crosses."""
        start, loss, correct, count = time.perf_counter(), 0.0, 0, 0
        assert self._own is not None
        for _ in range(self._train.in_flight):
            with self._locating(self._next):
                number, z, penalty, labels = self._encode()
                level = self._level_of(number)
                message = self._compress(z, number, level)
                grad, (one_loss, one_correct) = self._own.gradient(message, number, level, labels)
                self._apply(number, z, penalty, grad)
            loss, correct, count = loss + one_loss * len(labels), correct + one_correct, count + len(labels)
        return LocalScore(loss, correct, count, time.perf_counter() - start)

    def hand_over(self) -> bytes:
        """Return the packed weights message of the local head, in fp16."""
        with self._timing():
            assert self._head is not None
            message = pack_head(self._head)
        return self._stamp(message).to_bytes()

    @torch.no_grad()
    def evaluate_alone(self, split: Split, index: int) -> LocalScore:
        """Score batch `index` of a split by the local head, in eval mode; batches come in order."""
        start = time.perf_counter()
        (z, labels), level = self._encode_batch(split, index), self._decision.level
        message = self._compress(z, index, level, split)
        assert self._own is not None
        score = self._own.score(message, level, labels, self._votes)
        return LocalScore(**vars(score), seconds=time.perf_counter() - start)

    def evaluate(self, split: Split, index: int) -> Uplink:
        """Send batch `index` of a split, in eval mode."""
        with self._timing():
            z, labels = self._encode_batch(split, index)
            message = self._compress(z, index, self._decision.level, split)
        return self._send(message, labels)

    def score(self, features: bytes) -> Score:
        """Score the batch that `evaluate` sent last by its features, in eval mode; batches come in order."""
        with self._timing():
            assert self._after is not None
            return self._after.score(parse(features), self._decision.level, self._votes)

    def state(self) -> bytes:
        """Return everything that a checkpoint of this side holds, packed; a reference to it where it stays here."""
        return self._pack() if self._own_states is None else self._own_states.save(self._pack())

    def restore(self, packed: bytes) -> None:
        """Go back to what `state` returned; DivergenceError for a state with weights that are NaN or infinite.

        Raises ConfigError, which names the device, for a state that shall be here, and is not.
        """
        self._go_back(packed if self._own_states is None else self._own_states.load(packed))

    def _pack(self) -> bytes:
        # A cached epoch does not call the device, which afterwards evaluates the test split at the level it last had.
        state = {"level": str(self._decision.level), "start": (self._weights, self._data.normalization)}
        return pack_plain(state | self._net.state())

    def _go_back(self, packed: bytes) -> None:
        state = unpack_state(packed)
        self._net.restore(state)
        self._decision = Decision(Level(state["level"]), "from a checkpoint")
        if "start" in state:  # the checkpoints of older runs lack it
            self._weights, self._data.normalization = state["start"]
        self._net.require_finite()

    def _level_of(self, number: int) -> Level:
        """Return the level that a micro-batch trains at."""
        return self._decision.level_at(number // self._train.in_flight, self._train.seed)

    def _encode(self) -> tuple[int, torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Return number, code, budget penalty and labels of the next micro-batch."""
        number, frozen = self._next, self._decision.mode == "frozen"
        self._next += 1
        budget, encoder = self._level_of(number).channels, self._half.encoder
        if encoder is not None:
            encoder.train_logits(budget is not None)
        images, labels = self._data.micro_batch(number)
        self._half.train(not frozen)
        with (
            torch.set_grad_enabled(not frozen),
            seeded(mix(self._seed, "device", number), self._torch_device),
            autocast(self._torch_device, self._train.precision),
        ):
            z = self._half(images)
        penalty = None if frozen or budget is None or encoder is None else encoder.penalty(budget)
        return number, z, penalty, labels

    @torch.no_grad()
    def _encode_batch(self, split: Split, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if index == 0:
            self._require_finite()
            self._votes = ClipVotes(self._data.sets[split].chunks)
        images, labels = self._data.batch(split, index)
        with autocast(self._torch_device, self._train.precision):
            z = self._half.eval()(images)
        return z, labels

    def _require_finite(self) -> None:
        self._net.require_finite()

    def _apply(self, number: int, z: torch.Tensor, penalty: torch.Tensor | None, grad: torch.Tensor) -> None:
        """Backpropagate a gradient through the half; step after the last micro-batch of a step."""
        # A half without trainable layers (a cut before the first of them) has no gradient.
        if z.requires_grad:
            roots, grads = [z], [arrange_like(grad, z)]
            if penalty is not None:
                roots, grads = [*roots, penalty / self._train.in_flight], [*grads, torch.ones_like(penalty)]
            torch.autograd.backward(roots, grads)
        step, position = divmod(number, self._train.in_flight)
        if position == self._train.in_flight - 1:
            self._optimizer.step(step)
            require_finite_step(self._trained, self._optimizer, "device")

    def _compress(self, z: torch.Tensor, number: int, level: Level, split: Split | None = None) -> Message:
        """Return the message for a code: of training, with its random picks, or of an evaluated split."""
        encoder = self._half.encoder
        kept = None if encoder is None else encoder.choose_channels(level.channels)
        seed = mix(self._seed, "picks", number) if split is None else None
        noise = mix(self._seed, "noise", split or "train", number)
        try:
            noisy = add_noise(z, level.noise, noise, kept, self._cut.channel_dim)
            return self._codecs.at(level, "up").compress(noisy, number, kept, seed)
        except CodecError:
            if z.isfinite().all():
                raise
            raise DivergenceError("the activation at the cut is NaN or infinite") from None

    def _send(self, message: Message, labels: torch.Tensor) -> Uplink:
        if self._after is not None:  # labels stay here
            self._after.expect(message.batch, labels)
            return Uplink(self._stamp(message).to_bytes(), b"")
        label = pack_labels(labels, message.batch, self._classes).to_bytes()
        return Uplink(self._stamp(message).to_bytes(), label)

    def _stamp(self, message: Message) -> Message:
        # What it takes to pack this message is reported with the next one.
        message, self._busy = message.spent(self._busy), 0.0
        return message

    def _locating(self, number: int) -> AbstractContextManager[None]:
        return locate_step(self._train, self._steps, number)

    @contextmanager
    def _timing(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._busy += time.perf_counter() - start
