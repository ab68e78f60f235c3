"""Letters on the wire: what comes out is what went in, and nothing else comes out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.errors import WireError
from raysplit.wire.gateway_api import (
    PIECE_BYTES,
    End,
    Head,
    Hello,
    Letter,
    LetterReader,
    Welcome,
    letter_messages,
    read_text,
)
from tests.examples import examples

PART = st.binary(max_size=40)
LETTERS = st.builds(
    Letter,
    st.just("answer"),
    st.text(max_size=16),
    st.integers(1, 2**53 - 1),
    st.text(max_size=80),
    st.lists(PART, max_size=4).map(tuple),
)
LARGEST = 1000


def head(**fields: object) -> str:
    known = {"kind": "answer", "session": "s", "number": 1, "acknowledged": 0, "content": "{}", "parts": [3]}
    return json.dumps(known | fields)


@given(letter=LETTERS, acknowledged=st.integers(0, 2**53 - 1))
def test_a_letter_comes_out_as_it_went_in(letter, acknowledged):
    reader = LetterReader("answer", 10_000)
    *first, last = letter_messages(letter, acknowledged)
    assert all(reader.feed(message) is None for message in first)
    assert reader.feed(last) == letter and reader.acknowledged == acknowledged and not reader.amid


def test_a_large_part_crosses_in_pieces():
    letter = Letter("call", "s", 1, "{}", (bytes(2 * PIECE_BYTES + 1), b"x"))
    sizes = [len(message) for message in letter_messages(letter, 0)][1:]
    assert sizes == [PIECE_BYTES, PIECE_BYTES, 1, 1]


def test_parts_may_be_empty():
    letter = Letter("call", "s", 1, "{}", (b"", b"x", b"", b""))
    reader = LetterReader("call", LARGEST)
    head, piece = letter_messages(letter, 0)
    assert reader.feed(head) is None and reader.feed(piece) == letter
    (head,) = letter_messages(Letter("call", "s", 2, "{}", (b"",)), 0)
    assert reader.feed(head) == Letter("call", "s", 2, "{}", (b"",))


@pytest.mark.parametrize("text", [Hello(process="p", session="s", received=3), Welcome(), End(code=4001, reason="no")])
def test_the_other_texts_come_out_as_they_went_in(text):
    assert read_text(text.model_dump_json()) == text
    assert LetterReader("call", LARGEST).feed(text.model_dump_json()) == text


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([b"abc"], "no head announces"),
        ([head(), b"abcd"], "a piece of 4 bytes"),
        ([head(), b""], "a piece of 0 bytes"),
        ([head(), head()], "amid the parts of answer 1"),
        ([head(kind="call")], "only 'answer' comes this way"),
        ([head(parts=[LARGEST])], "at most 1000 are taken"),
        ([head(content="x" * LARGEST)], "at most 1000 are taken"),
        ([head(parts=[1] * 5)], "parts"),
        ([head(parts=[-1])], "parts"),
        ([head(number=0)], "number"),
        ([head(number=2**60)], "number"),
        ([head(number="1")], "number"),
        ([head(number=True)], "number"),
        ([head(more=1)], "more"),
        (["{"], "not of the protocol"),
        (["[]"], "not of the protocol"),
        (['{"kind": "run", "code": "rm"}'], "not of the protocol"),
        (["x" * (1 << 20)], "characters"),
    ],
)
def test_what_is_not_of_the_protocol_is_refused_with_a_reason(messages, reason):
    reader = LetterReader("answer", LARGEST)
    with pytest.raises(WireError, match=reason):
        for message in messages:
            reader.feed(message)


FRAMES = st.one_of(
    st.binary(max_size=50),
    st.text(max_size=50),
    st.dictionaries(
        st.sampled_from(["kind", "session", "number", "acknowledged", "content", "parts", "code", "reason", "x"]),
        st.one_of(
            st.none(),
            st.integers(-2, 2**70),
            st.sampled_from(["hello", "welcome", "answer", "call", "end"]),
            st.text(max_size=5),
            st.lists(st.integers(-1, 60), max_size=5),
        ),
    ).map(json.dumps),
    st.builds(head, parts=st.lists(st.integers(0, 20), max_size=4), number=st.integers(1, 3)),
)


@examples(5000)
@given(messages=st.lists(FRAMES, max_size=8))
def test_any_messages_give_letters_or_a_reason_and_hold_little(messages):
    reader = LetterReader("answer", LARGEST)
    for message in messages:
        try:
            taken = reader.feed(message)
        except WireError as err:
            assert str(err)
            return
        if isinstance(taken, Letter):
            assert taken.size <= LARGEST
        assert taken is None or isinstance(taken, Letter | Hello | Welcome | End)
        assert not isinstance(taken, Head)
