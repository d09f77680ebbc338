"""Client-side caching for Redis clients: CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from raftcache.command.call_table import SPECS, keys_of
from raftcache.command.calls import Call
from raftcache.command.integers import integer_or_none
from raftcache.command.values import RESP3, Failure, Members, Value
from raftcache.server.resp.client import Client, Clients
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable
from raftcache.server.resp.words import NOT_INTEGER, SYNTAX
from raftcache.service.tracking import PREFIXES_MAX, Tracker, Tracking

INVALIDATE: Final = b"invalidate"
CHANNEL: Final = b"__redis__:invalidate"
"""Where those listen who are redirected to, in RESP2."""
BROKEN: Final = b"tracking-redir-broken"

_READS: Final = frozenset(
    name
    for name, spec in SPECS.items()
    if any("readonly" in each.flags for each in (spec, *spec.subcommands.values()))
)
"""Calls whose keys are tracked; of a container all that are of data."""


class Wish(Struct, frozen=True):
    """What CLIENT TRACKING was asked for. redirect: an id, 0 for the client itself."""

    redirect: int = 0
    prefixes: tuple[bytes, ...] = ()
    is_broad: bool = False
    opts_in: bool = False
    opts_out: bool = False
    no_loop: bool = False


class Cache:
    """A client that caches; a Sink of the hub."""

    __slots__ = ("_client", "_clients", "at_end", "is_broken", "tracker", "wish")

    tracker: Tracker
    at_end: Callable[[], None]
    """Of its client, while there is the cache."""

    def __init__(self, client: Client, clients: Clients) -> None:
        self._client, self._clients = client, clients
        self.wish = Wish()
        self.is_broken = False
        """Whom it redirects to has gone."""

    def invalidate(self, keys: list[bytes] | None) -> None:
        client, redirect = self._client, self.wish.redirect
        target = self._clients.get(redirect) if redirect else client
        if target is None:
            self.is_broken = True
            if client.protocol == RESP3:
                client.push([BROKEN, redirect])
        elif target.protocol == RESP3:
            target.push([INVALIDATE, keys])
        elif redirect and target.listens:
            target.push([b"message", CHANNEL, keys])

    def cut_off(self, why: str) -> None:
        self._client.outlet.cut_off(why)


class Caching:
    """The room of these calls."""

    def __init__(self, hub: Tracking, clients: Clients) -> None:
        self._hub, self._clients = hub, clients
        self._caches: dict[Client, Cache] = {}

    def add_to(self, table: CallTable) -> None:
        table.add("CLIENT|TRACKING", self._track)
        table.add("CLIENT|CACHING", self._choose)
        table.add("CLIENT|TRACKINGINFO", self._tell)
        table.add("CLIENT|GETREDIR", self._redirect)

    # Switching it on and off.

    def _track(self, client: Client, call: Request) -> Value:
        wish = self._read(call[3:])
        if isinstance(wish, Failure):
            return wish
        match call[2].upper():
            case b"ON":
                why_not = self._why_not(self._caches.get(client), wish)
                if why_not:
                    return Failure(f"ERR {why_not}")
                self._switch_on(client, wish)
            case b"OFF":
                self._forget(client)
            case _:
                return SYNTAX
        return "OK"

    def _read(self, options: Sequence[bytes]) -> Wish | Failure:
        redirect, prefixes, flags = 0, list[bytes](), set[bytes]()
        at = 0
        while at < len(options):
            option, has_more = options[at].upper(), at + 1 < len(options)
            if option == b"REDIRECT" and has_more:
                if redirect:
                    return Failure("ERR A client can only redirect to a single other client")
                number = integer_or_none(options[at + 1])
                if number is None:
                    return NOT_INTEGER
                if self._clients.get(number) is None:
                    return Failure("ERR The client ID you want redirect to does not exist")
                redirect = number
                at += 2
            elif option == b"PREFIX" and has_more:
                prefixes.append(options[at + 1])
                at += 2
            elif option in (b"BCAST", b"OPTIN", b"OPTOUT", b"NOLOOP"):
                flags.add(option)
                at += 1
            else:
                return SYNTAX
        return Wish(
            redirect,
            tuple(prefixes),
            b"BCAST" in flags,
            b"OPTIN" in flags,
            b"OPTOUT" in flags,
            b"NOLOOP" in flags,
        )

    def _why_not(self, cache: Cache | None, wish: Wish) -> str:
        """What is against it, in Redis' words; "" if nothing is."""
        now = Wish(is_broad=wish.is_broad) if cache is None else cache.wish
        if wish.prefixes and not wish.is_broad:
            return "PREFIX option requires BCAST mode to be enabled"
        if now.is_broad != wish.is_broad:
            return (
                "You can't switch BCAST mode on/off before disabling tracking for this client,"
                " and then re-enabling it with a different mode."
            )
        if wish.is_broad and (wish.opts_in or wish.opts_out):
            return "OPTIN and OPTOUT are not compatible with BCAST"
        if wish.opts_in and wish.opts_out:
            return "You can't specify both OPTIN mode and OPTOUT mode"
        if (wish.opts_in and now.opts_out) or (wish.opts_out and now.opts_in):
            return (
                "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client,"
                " and then re-enabling it with a different mode."
            )
        held = () if cache is None else cache.tracker.prefixes or ()
        if len(held) + len(wish.prefixes) > PREFIXES_MAX:
            return f"a client has at most {PREFIXES_MAX} prefixes"
        return _collision(held, wish.prefixes)

    def _switch_on(self, client: Client, wish: Wish) -> None:
        prefixes = (wish.prefixes or (b"",)) if wish.is_broad else None
        cache = self._caches.get(client)
        if cache is None:
            cache = self._caches[client] = Cache(client, self._clients)
            cache.tracker = self._hub.open(cache, prefixes)
            cache.at_end = partial(self._forget, client)
            client.at_end.append(cache.at_end)
        elif prefixes is not None:
            self._hub.widen(cache.tracker, prefixes)
        cache.wish, cache.is_broken = wish, False
        client.redirect = wish.redirect
        client.before_reads = partial(self._reading, client, cache)
        client.after_reads = partial(self._hub.has_read, cache.tracker)
        client.wrote = partial(self._hub.wrote, cache.tracker) if wish.no_loop else None

    def _forget(self, client: Client) -> None:
        cache = self._caches.pop(client, None)
        if cache is not None:
            if cache.at_end in client.at_end:
                client.at_end.remove(cache.at_end)
            self._hub.close(cache.tracker)
            client.before_reads = client.after_reads = client.wrote = client.caching = None
            client.redirect = -1

    def _reading(self, client: Client, cache: Cache, calls: Sequence[Call | Request]) -> None:
        """These calls are about to be done."""
        wish = cache.wish
        if wish.opts_in and not client.caching:
            return
        if wish.opts_out and client.caching is False:
            return
        keys = [key for call in calls if call[0] in _READS for key in keys_of(call)]
        if keys:
            self._hub.reading(cache.tracker, keys)

    # The rest.

    def _choose(self, client: Client, call: Request) -> Value:
        cache, choice = self._caches.get(client), call[2].upper()
        wish = Wish() if cache is None else cache.wish
        if cache is None:
            return Failure(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with"
                " OPTIN or OPTOUT mode enabled"
            )
        if choice == b"YES" and not wish.opts_in:
            return Failure(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
            )
        if choice == b"NO" and not wish.opts_out:
            return Failure(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
            )
        if choice not in (b"YES", b"NO"):
            return SYNTAX
        client.caching = choice == b"YES"
        return "OK"

    def _tell(self, client: Client, call: Request) -> Value:
        cache = self._caches.get(client)
        if cache is None:
            return {b"flags": Members([b"off"]), b"redirect": -1, b"prefixes": []}
        wish, flags = cache.wish, [b"on"]
        if wish.is_broad:
            flags.append(b"bcast")
        if wish.opts_in:
            flags += [b"optin", b"caching-yes"] if client.caching else [b"optin"]
        if wish.opts_out:
            flags += [b"optout", b"caching-no"] if client.caching is False else [b"optout"]
        if wish.no_loop:
            flags.append(b"noloop")
        if cache.is_broken:
            flags.append(b"broken_redirect")
        prefixes = sorted(cache.tracker.prefixes or ())
        return {b"flags": Members(flags), b"redirect": wish.redirect, b"prefixes": prefixes}

    def _redirect(self, client: Client, call: Request) -> Value:
        cache = self._caches.get(client)
        return -1 if cache is None else cache.wish.redirect


def _collision(held: Sequence[bytes], added: Sequence[bytes]) -> str:
    """Prefixes of which one begins with another: what is told of both would be told twice."""
    for place, prefix in enumerate(added):
        for other in held:
            if _overlap(prefix, other):
                return _overlapping(prefix, "an existing prefix", other)
        for other in added[place + 1 :]:
            if _overlap(prefix, other):
                return _overlapping(prefix, "another provided prefix", other)
    return ""


def _overlap(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)


def _overlapping(one: bytes, what: str, other: bytes) -> str:
    shown = [prefix.decode(errors="surrogateescape") for prefix in (one, other)]
    return (
        f"Prefix '{shown[0]}' overlaps with {what} '{shown[1]}'."
        " Prefixes for a single client must not overlap."
    )
