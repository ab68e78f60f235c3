"""What a gateway refuses, each with a reason, while another device's run goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from raysplit.errors import DeviceLostError, RequestError
from raysplit.wire.gateway_api import (
    BUSY,
    ENDED,
    FAULT,
    REFUSED,
    REPLACED,
    End,
    Head,
    Hello,
    Letter,
    Welcome,
    letter_messages,
    read_text,
)
from tests.examples import examples
from tests.serving.gateway.fakes import FakeGateway, FakeSocket
from tests.wire.test_gateway_api import FRAMES


@pytest.fixture
def gateway(tmp_path) -> Iterator[FakeGateway]:
    one = FakeGateway(tmp_path, hello_s=0.3, stall_s=0.3, letter_mib=0.01, devices=3)
    yield one
    one.close()


def hello(socket: FakeSocket, process: str = "p", session: str | None = None, received: int = 0) -> Welcome:
    socket.send(Hello(process=process, session=session, received=received).model_dump_json())
    text = read_text(socket.recv())
    assert isinstance(text, Welcome), text
    return text


def last(socket: FakeSocket) -> End:
    """Read until the gateway has closed, and return its last message."""
    texts = []
    with pytest.raises(ConnectionError):
        while True:
            texts.append(socket.recv())
    end = read_text(texts[-1])
    assert isinstance(end, End) and end.code == socket.closed
    return end


def answer(session: str | None, number: int, part: bytes = b"", content: str = "{}") -> list[str | bytes]:
    letter = Letter("answer", session or "", number, content, (part,) if part else ())
    return list(letter_messages(letter, number))


class Peer:
    """An innocent device with a run of its own: each call to it is answered with the call's content."""

    def __init__(self, gateway: FakeGateway):
        self._socket = gateway.dial("kitchen")
        hello(self._socket, "innocent")
        gateway.claim(1, "innocent")
        self._post, self._calls = gateway.post("kitchen", run="innocent"), 0

    def check(self) -> None:
        """Have a call answered."""
        self._calls += 1
        waiting = self._post.send(f'"{self._calls}"')
        if self._calls == 1:
            assert read_text(self._socket.recv()) == Welcome(session=self._post.session)
        head = read_text(self._socket.recv())
        assert isinstance(head, Head) and head.number == self._calls
        for message in answer(self._post.session, head.number, b"code", head.content):
            self._socket.send(message)
        assert waiting.result().content == f'"{self._calls}"'


@pytest.mark.parametrize(
    ("name", "key", "reason"),
    [
        ("attic", "", "a key is required"),
        ("attic", "swordfish", "not that of a device 'attic'"),
        ("attic", "key-of-kitchen", "not that of a device 'attic'"),
        ("kitchen", "key-of-attic", "not that of a device 'kitchen'"),
        ("cellar", "key-of-cellar", "not that of a device 'cellar'"),
        ("attic", "key-of-attic\xff", "not that of a device 'attic'"),
        ("", "key-of-attic", "not a device's name"),
        ("../attic", "key-of-attic", "not a device's name"),
        ("a" * 65, "key-of-attic", "not a device's name"),
    ],
)
def test_a_device_without_its_own_key_is_refused(gateway, name, key, reason):
    peer = Peer(gateway)
    end = last(gateway.dial(name, key))
    assert end.code == REFUSED and reason in end.reason
    assert gateway.registry.names == ("kitchen",)
    peer.check()


@pytest.mark.parametrize("change", ["revoked", "replaced", "the file is empty"])
def test_a_key_that_is_taken_away_ends_the_device_at_once(gateway, change):
    peer, socket = Peer(gateway), gateway.dial("attic")
    hello(socket)
    gateway.claim(1)
    post = gateway.post("attic")
    call = post.send("{}")
    socket.recv(), socket.recv()
    if change == "replaced":
        gateway.keys.write_text(gateway.keys.read_text().replace("attic", "cellar") + f"attic {'0' * 64}\n")
    else:
        gateway.write_keys(*(["kitchen"] if change == "revoked" else []))
    if change == "the file is empty":
        assert last(socket).reason == "its key has been revoked"
        return
    assert last(socket).code == REFUSED
    with pytest.raises(DeviceLostError, match="'attic' is no longer admitted"):
        call.result()
    with pytest.raises(DeviceLostError):
        post.send("{}").result()
    assert last(gateway.dial("attic")).code == REFUSED
    peer.check()


def test_keys_that_cannot_be_read_any_more_stay_as_they_were(gateway):
    gateway.keys.write_text("attic ???\n")
    time.sleep(0.2)
    peer = Peer(gateway)
    time.sleep(0.2)
    peer.check()


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([b"\x00"], "not a hello"),
        (["{}"], "not of the protocol"),
        ([Welcome().model_dump_json()], "not a hello"),
        ([*answer("s", 1)], "not a hello"),
        ([], "no hello came within 0.3 s"),
        ([Hello(protocol=99, process="p").model_dump_json()], "speaks protocol 99"),
        ([Hello(process="p").model_dump_json(), b"\x00"], "no head announces"),
        ([Hello(process="p").model_dump_json()] * 2, "'hello' amid a session"),
    ],
)
def test_what_comes_before_a_run_is_checked(gateway, messages, reason):
    peer, socket = Peer(gateway), gateway.dial("attic")
    for message in messages:
        socket.send(message)
    end = last(socket)
    assert end.code in (FAULT, REFUSED) and reason in end.reason
    peer.check()


@pytest.mark.parametrize(
    ("made", "messages", "reason"),
    [
        (2, lambda s: [*answer(s, 1), *answer(s, 1)], "answer 1 came before; the next is 2"),
        (2, lambda s: answer(s, 2), "answer 2 is not the next"),
        (1, lambda s: [*answer(s, 1), *answer(s, 2)], "answer 2 is not the next: 1 are answered, 1 were asked"),
        (2, lambda s: answer(s, 2**50), "is not the next"),
        (1, lambda s: answer(s, 1, bytes(20_000)), "at most 10485 are taken"),
        (1, lambda s: answer(s, 1, b"abc")[:1], "nothing more of a letter came within 0.3 s"),
        (1, lambda s: [answer(s, 1, b"abc")[0], b"abcd"], "a piece of 4 bytes"),
        (1, lambda s: ["x" * (1 << 20)], "characters"),
        (
            1,
            lambda s: [Head(kind="call", session=s, number=1, acknowledged=0, content="").model_dump_json()],
            "'answer'",
        ),
    ],
)
def test_what_a_device_must_not_send_costs_its_connection_and_nothing_else(gateway, made, messages, reason):
    """Replayed, reordered, invented, oversized and stalled answers: the device may dial again and go on."""
    peer, socket = Peer(gateway), gateway.dial("attic")
    hello(socket)
    gateway.claim(1)
    post = gateway.post("attic")
    waiting = [post.send(f'"{number}"') for number in range(made)]
    for _ in range(1 + made):
        socket.recv()
    for message in messages(post.session):
        socket.send(message)
    end = last(socket)
    assert end.code == FAULT and reason in end.reason
    again = gateway.dial("attic")
    welcome = hello(again, session=post.session, received=made)
    assert welcome.session == post.session
    for number in range(welcome.received, made):
        for message in answer(post.session, number + 1, b"right"):
            again.send(message)
    assert [one.result().number for one in waiting] == list(range(1, made + 1))
    peer.check()


def test_an_answer_of_a_session_that_is_over_is_left_aside(gateway):
    socket = gateway.dial("attic")
    hello(socket)
    gateway.claim(1)
    first, second = gateway.post("attic"), gateway.post("attic")
    lost = first.send("{}")
    socket.recv(), socket.recv()
    waiting = second.send("{}")
    with pytest.raises(DeviceLostError, match="begun another session"):
        lost.result()
    assert read_text(socket.recv()) == Welcome(session=second.session)
    for message in [*answer(first.session, 1, b"late"), *answer(second.session, 1, b"now")]:
        socket.send(message)
    assert waiting.result().parts == (b"now",)


def test_another_process_under_a_name_takes_the_place_of_the_first(gateway):
    socket = gateway.dial("attic")
    hello(socket, "first")
    gateway.claim(1)
    call = gateway.post("attic").send("{}")
    socket.recv(), socket.recv()
    other = gateway.dial("attic")
    assert hello(other, "second") == Welcome()
    assert last(socket).code == REPLACED
    with pytest.raises(DeviceLostError, match="'attic' was started anew"):
        call.result()


def test_more_devices_than_there_may_be_are_told_to_come_later(tmp_path):
    gateway = FakeGateway(tmp_path, ("a", "b", "c"), devices=2)
    sockets = [gateway.dial(name) for name in "ab"]
    for socket in sockets:
        hello(socket)
    third = gateway.dial("c")
    third.send(Hello(process="p").model_dump_json())
    assert last(third).code == BUSY
    sockets[0].close()
    time.sleep(0.1)
    assert hello(gateway.dial("c")) == Welcome()
    gateway.close()


def test_attempts_from_an_address_are_limited(tmp_path):
    gateway = FakeGateway(tmp_path, joins_per_minute=3)
    ends = [last(gateway.dial("attic", "wrong")) for _ in range(5)]
    assert [end.code for end in ends] == [REFUSED] * 3 + [BUSY] * 2
    assert "limits.joins_per_minute" in ends[-1].reason
    gateway.close()


def test_a_run_waits_for_its_devices_and_says_who_is_there(gateway):
    hello(gateway.dial("attic"))
    with pytest.raises(RequestError, match="2 devices did not join within 0.1 s; attic did. Start them"):
        gateway.claim(2, timeout_s=0.1)
    with pytest.raises(RequestError, match="cellar of devices.names did not join"):
        gateway.run(gateway.registry.claim("run", 1, ("cellar",), 0.1))
    hello(gateway.dial("kitchen"))
    assert gateway.claim(2) == ("attic", "kitchen")
    with pytest.raises(RequestError, match="none did; attic, kitchen train in another run"):
        gateway.claim(1, "second", timeout_s=0.1)
    assert gateway.run(gateway.registry.claim("run", 2, ("kitchen", "attic"), 1)) == ("kitchen", "attic")


def test_the_devices_of_a_run_that_is_not_heard_of_are_free_again(tmp_path):
    gateway = FakeGateway(tmp_path, lease_s=0.2)
    socket = gateway.dial("attic")
    hello(socket)
    gateway.claim(1, "gone")
    call = gateway.post("attic", run="gone").send("{}")
    session = read_text(socket.recv())
    assert gateway.claim(1, "next", timeout_s=10) == ("attic",)
    with pytest.raises(DeviceLostError, match="run 'gone' has gone"):
        call.result()
    assert isinstance(session, Welcome) and session.session
    gateway.release("next", "the run has ended")
    assert last(socket) == End(code=ENDED, reason="the run has ended")
    gateway.close()


@examples(2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(FRAMES, max_size=6), before=st.booleans())
def test_malformed_frames_harm_no_run_and_leave_nothing_behind(shared, messages, before):
    """Before the hello or after it, of a device that has a run."""
    gateway, peer = shared
    socket = gateway.dial("attic")
    if not before:
        hello(socket)
        gateway.claim(1)
        gateway.post("attic").send("{}")
    for message in messages:
        try:
            socket.send(message)
        except ConnectionError:
            break
    socket.close()
    gateway.release()
    peer.check()
    assert len(gateway.registry.names) <= 2 and len(gateway.routes._admitted) <= 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[tuple[FakeGateway, Peer]]:
    gateway = FakeGateway(tmp_path_factory.mktemp("gateway"), letter_mib=0.01)
    yield gateway, Peer(gateway)
    gateway.close()
