"""Server-sent events from bytes that come in any pieces; without IO."""

from __future__ import annotations

from msgspec import Struct


class Event(Struct, frozen=True):
    """One event. kind: "message" if the server gave none."""

    kind: str
    data: bytes


class EventParser:
    """feed() it; what is not a whole event yet waits."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._looked_at = 0

    def feed(self, piece: bytes) -> list[Event]:
        """The events that this piece completes. Lines end with LF or CRLF."""
        self._rest += piece.replace(b"\r", b"")
        events: list[Event] = []
        while (end := self._rest.find(b"\n\n", self._looked_at)) >= 0:
            event = _event(bytes(self._rest[:end]))
            del self._rest[: end + 2]
            self._looked_at = 0
            if event is not None:
                events.append(event)
        self._looked_at = max(0, len(self._rest) - 1)
        return events


def _event(text: bytes) -> Event | None:
    """None for one without data, such as a comment."""
    kind, data = "message", list[bytes]()
    for line in text.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            kind = value.decode("utf-8", "replace")
        elif name == b"data":
            data.append(value)
    return Event(kind, b"\n".join(data)) if data else None
