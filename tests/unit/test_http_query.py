"""Targets and their parameters."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command.limits import TTL_MS_MAX
from raftcache.errors import BadRequest
from raftcache.server.query import only_known, parse_duration_ms, parse_query, shown, unescape


@pytest.mark.parametrize(
    ("text", "span_ms"),
    [
        ("1ms", 1),
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("007s", 7000),
    ],
)
def test_durations(text: str, span_ms: int) -> None:
    assert parse_duration_ms("ttl", text) == span_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "1d",
        "1.5s",
        "-1s",
        "+1s",
        " 1s",
        "1s ",
        "1 s",
        "1S",
        "1e3s",
        "1_0s",
        "٣s",
        "1s1s",
    ],
)
def test_a_bad_duration_is_repeated_in_its_error(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_duration_ms("ttl", text)
    assert f"ttl={shown(text)}" in caught.value.detail


@pytest.mark.parametrize("text", ["0s", "0ms", f"{TTL_MS_MAX + 1}ms", "999999999999999h"])
def test_durations_have_a_range(text: str) -> None:
    with pytest.raises(BadRequest, match="not from 1 ms to ten years"):
        parse_duration_ms("ttl", text)
    assert parse_duration_ms("ttl", f"{TTL_MS_MAX}ms") == TTL_MS_MAX


@given(st.binary(max_size=64))
@settings(max_examples=200)
def test_any_bytes_survive_percent_encoding(data: bytes) -> None:
    assert unescape(quote_from_bytes(data, safe="/")) == data
    assert unescape("".join(f"%{byte:02x}" for byte in data)) == data


@given(st.text(max_size=32))
@settings(max_examples=200)
def test_unescape_gives_bytes_or_a_bad_request(text: str) -> None:
    try:
        assert isinstance(unescape(text), bytes)
    except BadRequest as error:
        assert len(error.detail) < 200  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize("text", ["%", "a%", "a%4", "%zz", "%4g", "%%41", "%-1", "% 1"])
def test_broken_escapes(text: str) -> None:
    with pytest.raises(BadRequest, match="broken percent-encoding"):
        unescape(text)


@pytest.mark.parametrize("text", ["é", "\udcff", "a#b"])
def test_some_characters_must_be_encoded(text: str) -> None:
    with pytest.raises(BadRequest, match="must be percent-encoded"):
        unescape(text)


def test_queries() -> None:
    assert parse_query("") == {}
    assert parse_query("a=1&b=x%20y&verbose&c=d=e") == {
        "a": "1",
        "b": "x y",
        "verbose": "",
        "c": "d=e",
    }
    assert parse_query("by=+1") == {"by": "+1"}, "a plus is a plus"


@pytest.mark.parametrize("raw", ["a=1&a=2", "a=1&%61=1", "a&a"])
def test_a_parameter_given_twice_is_named(raw: str) -> None:
    with pytest.raises(BadRequest, match="'a' is given twice"):
        parse_query(raw)


def test_a_query_is_utf_8() -> None:
    assert parse_query("a=%C3%A9") == {"a": "é"}
    with pytest.raises(BadRequest, match="no UTF-8"):
        parse_query("a=%ff")


def test_all_unknown_parameters_are_named() -> None:
    only_known({"ttl": ""}, ("ttl",))
    with pytest.raises(BadRequest, match="unknown query parameter 'lease', 'x'"):
        only_known({"lease": "", "ttl": "", "x": ""}, ("ttl",))


def test_what_errors_repeat_is_short_and_printable() -> None:
    assert shown("a\r\n\u2028'") == '"a\\r\\n\\u2028\'"'
    assert len(shown("x" * 10_000)) < 80
