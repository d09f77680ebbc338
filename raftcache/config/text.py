"""How operators write durations, sizes, addresses and names; every parser raises ValueError.

The messages complete a sentence that begins with the setting and its value.
"""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from raftcache.config.shape import Address

MEMBERS_MAX: Final = 9
"""Each further voter makes a commit slower; beyond seven or nine nothing is gained."""

_UNITS_S: Final = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_UNITS_BYTES: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_duration_s(text: str) -> float:
    """Seconds in `250ms`, `30s`, `5m` or `1h`."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h)", text, re.ASCII)
    if not found:
        raise ValueError("must be a number with ms, s, m or h, for example 250ms or 30s")
    return float(Decimal(found[1]) * _UNITS_S[found[2]])


def show_duration(seconds: float) -> str:
    """A form that parse_duration_s takes."""
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def parse_size_bytes(text: str) -> int:
    """Bytes in `512`, `64KiB`, `64MiB` or `1GiB`."""
    found = re.fullmatch(r"(\d{1,18})(|B|KiB|MiB|GiB)", text, re.ASCII)
    if not found:
        raise ValueError("must be a whole number with KiB, MiB or GiB, for example 64MiB")
    return int(found[1]) * _UNITS_BYTES[found[2]]


def show_size(size_bytes: int) -> str:
    """The shortest form that parse_size_bytes takes."""
    for unit in ("GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _UNITS_BYTES[unit] == 0:
            return f"{size_bytes // _UNITS_BYTES[unit]}{unit}"
    return str(size_bytes)


def parse_count(text: str) -> int:
    """A whole number of things."""
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise ValueError("must be a whole number")
    return int(text)


def parse_switch(text: str) -> bool:
    """true or false, also written 1 or 0."""
    if text not in ("true", "false", "1", "0"):
        raise ValueError("must be true or false")
    return text in ("true", "1")


def show_switch(on: bool) -> str:
    return "true" if on else "false"


def parse_name(text: str) -> str:
    """A member's name: it becomes part of log lines, metrics and folders."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text, re.ASCII):
        raise ValueError("must be 1 to 64 letters, digits, '.', '_' or '-'")
    return text


def parse_password(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("must not be empty")
    return text


def show_password(password: str) -> str:
    """That there is one."""
    return "***" if password else ""


def parse_folder(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("must be the path of a folder")
    return Path(text)


def parse_url(text: str) -> str:
    """The HTTP address of a member, without a path."""
    if not (re.fullmatch(r"https?://[^/?#\s]+/?", text) and _names_a_place(text)):
        raise ValueError("must be a member's URL, for example http://127.0.0.1:7401")
    return text.rstrip("/")


def _names_a_place(url: str) -> bool:
    """A host, and no port that there is not."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def parse_address(text: str) -> Address:
    """`host:port`; an IPv6 address in brackets."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})", text, re.ASCII)
    if not found:
        raise ValueError("must be host:port, for example 127.0.0.1:7401 or [::1]:7401")
    if found[1] and not isinstance(_ip(found[1]), IPv6Address):
        raise ValueError(f"must hold an IPv6 address in its brackets, and {found[1]} is none")
    if not 1 <= int(found[3]) <= 65535:
        raise ValueError(f"must have a port from 1 to 65535, not {found[3]}")
    return Address(found[1] or found[2], int(found[3]))


def parse_members(text: str) -> dict[str, Address]:
    """The members of a new cluster, as parse_peers reads them."""
    members = parse_peers(text)
    if len(members) > MEMBERS_MAX:
        raise ValueError(f"has {len(members)} members; at most {MEMBERS_MAX} are allowed")
    return members


def parse_peers(text: str) -> dict[str, Address]:
    """`n1=host:port,n2=host:port`: every name and every address once."""
    members: dict[str, Address] = {}
    for part in (p.strip() for p in text.split(",")):
        name, equals, address_text = part.partition("=")
        if not equals:
            raise ValueError(f"must be name=host:port,...; {part!r} is not")
        try:
            parse_name(name)
            address = parse_address(address_text)
        except ValueError as e:
            raise ValueError(f"has the member {part!r}, which {e}") from None
        if name in members:
            raise ValueError(f"names {name} twice; every member needs a name of its own")
        for other, taken in members.items():
            if taken == address:
                raise ValueError(f"gives {other} and {name} the same address, {address}")
        members[name] = address
    return members


def show_members(members: dict[str, Address]) -> str:
    return ",".join(f"{name}={address}" for name, address in members.items())


_KEY_EVENTS: Final = "g$lshzxetd"
"""What Redis' A stands for."""
_KEY_EVENTS_ALL: Final = _KEY_EVENTS + "nKEm"
"""In the order in which they are shown."""


def parse_key_events(text: str) -> str:
    """Letters of Redis' notify-keyspace-events; all that they stand for, each once, in order."""
    if unknown := [letter for letter in text if letter not in "A" + _KEY_EVENTS_ALL]:
        raise ValueError(f"must be of the letters A{_KEY_EVENTS_ALL}; {unknown[0]!r} is not")
    said = text.replace("A", _KEY_EVENTS)
    return "".join(letter for letter in _KEY_EVENTS_ALL if letter in said)


def show_key_events(events: str) -> str:
    return events.replace(_KEY_EVENTS, "A")


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach it; a name other than localhost counts as not."""
    ip = _ip(address.host)
    return address.host == "localhost" if ip is None else ip.is_loopback


def is_wildcard(address: Address) -> bool:
    """Whether it stands for every interface, which no peer can connect to."""
    ip = _ip(address.host)
    return ip is not None and ip.is_unspecified


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
