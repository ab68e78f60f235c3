"""A device's connection: whatever drops and whenever, each call is worked on once and each answer arrives."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from raysplit.errors import LinkError, RaysplitError, RequestError
from raysplit.join.link import Begun, Ended, Link
from raysplit.wire.gateway_api import BUSY, ENDED, FAULT, End, Letter, Welcome
from tests.serving.gateway.fakes import FakeGateway, FakeSocket

CALLS = 6
IN_FLIGHT = 3


@pytest.fixture
def gateway(tmp_path) -> Iterator[FakeGateway]:
    one = FakeGateway(tmp_path)
    yield one
    one.close()


class Echo:
    """A device that answers each call with what came, and remembers the calls that it worked on."""

    def __init__(self, dial) -> None:
        self.link = Link(dial, 1 << 20, pause_s=0.001)
        self.worked: list[tuple[str, str]] = []
        self.last: Ended | RaysplitError | None = None
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while True:
            event = self.link.next()
            if isinstance(event, Letter):
                self.worked.append((event.session, event.content))
                self.link.answer(Letter("answer", event.session, event.number, event.content, event.parts))
            elif not isinstance(event, Begun):
                self.last = event
                return


class Faulty:
    """Dials connections of which each drops after so many messages, the last ones not at all."""

    def __init__(self, gateway: FakeGateway, cuts: list[int], half_open: bool = False):
        self._gateway, self._cuts, self._half_open = gateway, list(cuts), half_open
        self.sockets: list[FakeSocket] = []

    def __call__(self) -> FakeSocket:
        cut = self._cuts.pop(0) if self._cuts else None
        self.sockets.append(self._gateway.dial("attic", cut_after=cut, half_open=self._half_open))
        return self.sockets[-1]


def work_through(gateway: FakeGateway, dial: Faulty) -> Echo:
    """Make calls, some of them in flight, and check that each is answered right and worked on once."""
    device = Echo(dial)
    gateway.claim(1)
    post = gateway.post("attic")
    waiting = []
    for number in range(CALLS):
        waiting.append(post.send(f'"{number}"', (bytes([number]) * 10, b"x") if number % 2 else ()))
        if len(waiting) >= IN_FLIGHT:
            waiting[-IN_FLIGHT].result()
    answers = [one.result() for one in waiting]
    assert [answer.content for answer in answers] == [f'"{number}"' for number in range(CALLS)]
    assert answers[3].parts == (bytes([3]) * 10, b"x")
    assert device.worked == [(post.session, f'"{number}"') for number in range(CALLS)]
    gateway.release()
    device.thread.join(10)
    assert device.last == Ended("the run has ended")
    return device


@pytest.mark.parametrize("half_open", [False, True])
@pytest.mark.parametrize("cut", range(1, 24, 2))
def test_a_connection_may_drop_at_any_message(gateway, cut, half_open):
    """Half open: the gateway does not hear of it, until the device dials again."""
    work_through(gateway, Faulty(gateway, [cut], half_open))


@pytest.mark.parametrize("seed", range(10))
def test_connections_may_drop_again_and_again(gateway, seed):
    draw = random.Random(seed)
    dial = Faulty(gateway, [draw.randrange(1, 8) for _ in range(12)], half_open=bool(seed % 2))
    work_through(gateway, dial)
    assert len(dial.sockets) > 2


def test_a_gateway_that_was_started_again_begins_anew(gateway, tmp_path_factory):
    """It has forgotten the session: the device forgets it too, and waits for a run."""
    other = FakeGateway(tmp_path_factory.mktemp("other"))
    gateways = [gateway, other]
    device = Echo(lambda: gateways[0].dial("attic"))
    gateway.claim(1)
    gateway.post("attic").send('"0"').result()
    gateways.pop(0)
    device.link._socket.close()
    other.claim(1)
    other.post("attic").send('"1"').result()
    assert [content for _, content in device.worked] == ['"0"', '"1"']
    other.close()
    device.thread.join(10)
    assert isinstance(device.last, Ended)


def test_a_device_dials_until_the_gateway_is_there(gateway):
    failures: list[Exception] = [LinkError("busy"), OSError("unreachable"), ConnectionRefusedError(111, "refused")]

    def dial() -> FakeSocket:
        if failures:
            raise failures.pop()
        return gateway.dial("attic")

    Echo(dial)
    assert gateway.claim(1) == ("attic",)


def test_a_refusal_ends_the_device(gateway):
    device = Echo(lambda: gateway.dial("attic", key="wrong"))
    device.thread.join(10)
    assert isinstance(device.last, RequestError)
    assert str(device.last).startswith("the gateway closed the connection: the key is not that of a device 'attic'")

    def no_gateway() -> FakeSocket:
        raise RequestError("http://127.0.0.1 answers 404", 404)

    device = Echo(no_gateway)
    device.thread.join(10)
    assert isinstance(device.last, RequestError) and "404" in str(device.last)


class Script:
    """A gateway that sends what the test says."""

    def __init__(self, *messages: str | bytes):
        self.messages, self.sent = list(messages), []

    def recv(self) -> str | bytes:
        if not self.messages:
            raise ConnectionError("closed")
        return self.messages.pop(0)

    def send(self, message: str | bytes) -> None:
        self.sent.append(message)

    def close(self) -> None:
        self.messages = []


CALL = '{"kind":"call","session":"s","number":%d,"acknowledged":0,"content":"{}"}'


@pytest.mark.parametrize(
    "messages",
    [
        [b"\x00"],
        [End(code=BUSY, reason="too many").model_dump_json()],
        [End(code=FAULT, reason="a piece of 0 bytes").model_dump_json()],
        ["{}"],
        [CALL % 1],
        [Welcome(session="s").model_dump_json(), CALL % 2],
        [Welcome(session="s").model_dump_json(), CALL % 1, CALL % 1],
        [Welcome(session="t").model_dump_json(), CALL % 1],
        [Welcome(session="s").model_dump_json(), CALL.replace("call", "answer", 1) % 1],
    ],
)
def test_a_gateway_that_is_busy_or_breaks_the_protocol_is_dialled_again(messages):
    """No call is worked on that is not the next one of the session."""
    scripts = [Script(*messages), Script(End(code=ENDED, reason="enough").model_dump_json())]
    device = Echo(lambda: scripts.pop(0))
    device.thread.join(10)
    assert device.last == Ended("enough") and len(device.worked) <= 1
