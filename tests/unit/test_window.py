"""Flow control: what is on its way to one peer, in bytes and in messages."""

from __future__ import annotations

import pytest

from raftcache.raft.window import WINDOW_MESSAGES_MAX, WINDOW_SIZE_BYTES_MAX, Window


def test_it_closes_at_a_number_of_messages() -> None:
    window = Window()
    for seq in range(1, WINDOW_MESSAGES_MAX + 1):
        assert window.is_open
        window.sent(seq, 1)
    assert not window.is_open
    window.answered(1)
    assert window.is_open


def test_it_closes_at_a_number_of_bytes() -> None:
    window = Window()
    window.sent(1, WINDOW_SIZE_BYTES_MAX - 1)
    assert window.is_open
    window.sent(2, 1)
    assert not window.is_open
    window.answered(2)
    assert window.is_open


def test_one_message_may_be_larger_than_the_window() -> None:
    window = Window()
    window.sent(1, 10 * WINDOW_SIZE_BYTES_MAX)
    assert not window.is_open
    window.answered(1)
    assert window.is_open


def test_an_answer_is_one_to_everything_sent_before() -> None:
    window = Window()
    for seq in range(1, WINDOW_MESSAGES_MAX + 1):
        window.sent(3 * seq, WINDOW_SIZE_BYTES_MAX // WINDOW_MESSAGES_MAX)
    window.answered(2)
    assert not window.is_open
    window.answered(3 * WINDOW_MESSAGES_MAX)
    window.sent(1000, WINDOW_SIZE_BYTES_MAX - 1)
    assert window.is_open, "nothing of the earlier ones is counted any more"


def test_a_new_link_begins_with_an_empty_window() -> None:
    window = Window()
    window.sent(5, WINDOW_SIZE_BYTES_MAX)
    window.reset()
    assert window.is_open
    window.sent(1, 1)


def test_numbers_grow() -> None:
    window = Window()
    window.sent(5, 1)
    with pytest.raises(AssertionError):
        window.sent(5, 1)
