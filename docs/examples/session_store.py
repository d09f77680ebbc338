"""A session store: sessions that end when nobody used them for a while, safe for many servers.

    python docs/examples/session_store.py

Why it is correct. A session is one key. `load` reads it and gives it its whole time to live again
in one transaction, so it cannot end between the two, and cannot come back after it has ended.
`update` is compare-and-set: it writes only if the data is still what the change was made from,
else it begins again with what is there now; so no server overwrites what another one has done.
(It compares the data and not the revision, for every `load` is a new revision.) A new session's
id is random and put only where nothing is. An update that has to be repeated, for its node died,
carries its idempotency key: it is not mistaken for somebody else's.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from raftcache.client import SyncClient, Txn

Data = dict[str, Any]


class SessionStore:
    """Sessions that end idle_ms after they were last used."""

    def __init__(self, client: SyncClient, idle_ms: int) -> None:
        self._client, self._idle_ms = client, idle_ms

    def create(self, data: Data) -> str:
        """A new session; returns its id."""
        while True:
            session = secrets.token_urlsafe(16)
            written = self._client.put(
                _key(session), _text(data), ttl_ms=self._idle_ms, only_if_absent=True
            )
            if written.applied:
                return session

    def load(self, session: str) -> Data | None:
        """What it holds, and its time begins anew; None if it has ended."""
        text = self._load(session)
        return None if text is None else json.loads(text)

    def update(self, session: str, change: Callable[[Data], Data]) -> Data | None:
        """Change it, whatever others do meanwhile; None if it has ended.

        change may be called again, with newer data.
        """
        key, text = _key(session), self._load(session)
        while text is not None:
            new = change(json.loads(text))
            write = Txn().when(key, "value", "=", text)
            write.then.put(key, _text(new), ttl_ms=self._idle_ms)
            write.otherwise.get(key)
            done = self._client.txn(write)
            if done.succeeded:
                return new
            found = done.results[0].entry
            text = None if found is None else found.value
        return None

    def end(self, session: str) -> None:
        """Log out."""
        self._client.delete(_key(session))

    def _load(self, session: str) -> bytes | None:
        key = _key(session)
        use = Txn().when(key, "exists", "=", True)
        use.then.expire(key, self._idle_ms).get(key)
        done = self._client.txn(use)
        found = done.results[1].entry if done.succeeded else None
        return None if found is None else found.value


def _key(session: str) -> bytes:
    return b"session/" + session.encode()


def _text(data: Data) -> bytes:
    return json.dumps(data, sort_keys=True).encode()


def main() -> None:
    with SyncClient() as client:
        store = SessionStore(client, idle_ms=30 * 60 * 1000)
        session = store.create({"user": "ada", "clicks": 0})
        store.update(session, lambda data: data | {"clicks": data["clicks"] + 1})
        print(session, store.load(session))
        store.end(session)
        print(session, store.load(session))


if __name__ == "__main__":
    main()
