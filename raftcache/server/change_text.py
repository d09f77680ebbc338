"""Changes as JSON and as server-sent events; encoded once for all who are shown the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from raftcache.errors import RaftcacheError
from raftcache.server.json_keys import escape, item_json
from raftcache.server.replies import answer_error
from raftcache.service.tour import Change, Delivery


class ChangeText:
    """now_ms: cluster time, for what keys have left to live when this is asked."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        # A delivery comes for all its watchers one after the other: one place is enough.
        self._last: Delivery | None = None
        self._json = self._event = b""

    def json(self, delivery: Delivery) -> bytes:
        """{"revision": ..., "changes": [...]}"""
        if delivery is not self._last:
            changes = [self._change(change) for change in delivery.changes]
            fields: dict[str, Any] = {"revision": delivery.revision, "changes": changes}
            if delivery.lacks_previous:
                fields["lacks_previous"] = True
            self._json = orjson.dumps(fields)
            self._event = b"id: %d\ndata: %b\n\n" % (delivery.revision, self._json)
            self._last = delivery
        return self._json

    def event(self, delivery: Delivery) -> bytes:
        self.json(delivery)
        return self._event

    def _change(self, change: Change) -> dict[str, Any]:
        now_ms, key = self._now_ms(), change.key
        fields: dict[str, Any] = {"event": change.kind.name.lower(), "key": escape(key)}
        if change.item is not None:
            fields |= item_json(key, change.item, now_ms)
        if change.previous is not None:
            fields["previous"] = item_json(key, change.previous, now_ms)
        return fields


def progress_event(revision: int) -> bytes:
    """Everything up to this revision was sent."""
    return b'event: progress\nid: %d\ndata: {"revision":%d}\n\n' % (revision, revision)


def error_event(error: RaftcacheError) -> bytes:
    """The last one: the problem that ended the stream."""
    return b"event: error\ndata: %b\n\n" % answer_error(error, write=False).body
