"""One attempt of a call: a request to one endpoint, and what can be said of its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import aiohttp
from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from raftcache.client.paths import KV
from raftcache.client.replies import Answer, decoded, error_of
from raftcache.client.streams import CONNECT_TIMEOUT_S, broke_off
from raftcache.command.limits import LOCK_PLACE_MS
from raftcache.errors import NotFound, RaftcacheError, Refused, Unknown

T = TypeVar("T")

ATTEMPT_TIMEOUT_S: Final = 2.0
"""After which a silent node is left for the next: longer than an election takes."""

OPERATION_TIMEOUT_S: Final = 15.0
"""The same for what an operator asks for: a node may hand its leadership over meanwhile."""


PULSE_S: Final = 3.0
"""How often a node that makes us wait on purpose is asked for a sign of life. A place in a queue
lasts LOCK_PLACE_MS after the last word of the node it was taken at: until then another is asked."""

LIVENESS: Final = "/livez"

IDEMPOTENCY_KEY: Final = "Idempotency-Key"

assert (PULSE_S + ATTEMPT_TIMEOUT_S) * 1000 < LOCK_PLACE_MS * 2 / 3  # its last third had no word


class Request(Struct, frozen=True):
    """One call, the same for every attempt. path_qs is encoded as it is sent."""

    method: str
    path_qs: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    attempt_timeout_s: float = ATTEMPT_TIMEOUT_S
    wait_s: float = 0.0
    """What the server may take for it on purpose; comes on top of all timeouts."""
    is_claim: bool = False
    """A read that may leave something behind: a right, which ends by itself."""
    spare_key: str = ""
    """It goes with a number, and may go with this idempotency key instead."""
    may_go_bare: bool = False
    """Its idempotency key, or number, was made here, and it may go without."""
    goes_once: bool = False
    """A write without a key: not to be sent again when nobody knows what became of it."""

    def bare(self, timeout_s: float) -> Request:
        """Without an idempotency key, and so in one attempt, which may take all the time."""
        headers = {name: value for name, value in self.headers.items() if name != IDEMPOTENCY_KEY}
        changes = {"may_go_bare": False, "goes_once": True, "attempt_timeout_s": timeout_s}
        return replace(self, headers=headers, **changes)

    def numbered(self, mark: str) -> Request:
        """With a number in the place of its idempotency key, which it keeps to spare."""
        headers = {**self.headers, IDEMPOTENCY_KEY: mark}
        return replace(self, headers=headers, spare_key=self.headers[IDEMPOTENCY_KEY])

    def keyed(self) -> Request:
        """With the spare key in the place of its number."""
        headers = {**self.headers, IDEMPOTENCY_KEY: self.spare_key}
        return replace(self, headers=headers, spare_key="")

    @property
    def is_write(self) -> bool:
        return self.is_claim or self.method not in ("GET", "HEAD")

    @property
    def is_remembered(self) -> bool:
        """Asked again it is answered like the first time, not by what the first time led to.

        A claim is not, but says what is so now, which is what was asked for.
        """
        return self.is_claim or IDEMPOTENCY_KEY in self.headers


def new_session() -> aiohttp.ClientSession:
    """Connections that notes of requests can be taken from, as attempt_at does."""
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note_sent)
    return aiohttp.ClientSession(
        trace_configs=[trace],
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        middlewares=(_write_once,),
    )


async def _write_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Let aiohttp not send a write again by itself when its connection breaks, as it would."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as e:
        if request.method in ("GET", "HEAD"):
            raise
        raise aiohttp.ClientError(str(e) or type(e).__name__) from e


async def attempt_at(
    http: aiohttp.ClientSession, endpoint: str, request: Request, left_s: float
) -> Answer | RaftcacheError:
    """One request to one endpoint; what was never sent is refused, not unknown."""
    sent: list[bool] = []
    attempt_s = min(request.attempt_timeout_s + request.wait_s, left_s)
    if attempt_s <= 0:  # which aiohttp would take for no limit at all
        return Refused(f"no time was left to ask {endpoint}")
    asking = _ask(http, endpoint, request, attempt_s, sent)
    try:
        answer = await (
            asking if request.wait_s <= PULSE_S else _while_it_lives(http, endpoint, asking)
        )
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
        why = f"{endpoint} cannot be reached: {e.strerror or 'timed out'}"
        return Unknown(f"{why}, after it was sent the request") if sent else Refused(why)
    except TimeoutError:
        return Unknown(f"{endpoint} did not answer within {attempt_s:.3g} s")
    except (aiohttp.ClientError, OSError) as e:
        return Unknown(broke_off(endpoint, e))
    return error_of(answer, of_key=request.path_qs.startswith(f"{KV}/")) or answer


async def _ask(
    http: aiohttp.ClientSession, endpoint: str, request: Request, attempt_s: float, sent: list[bool]
) -> Answer:
    async with http.request(
        request.method,
        URL(endpoint + request.path_qs, encoded=True),
        data=request.body,
        headers=request.headers,
        timeout=aiohttp.ClientTimeout(total=attempt_s, sock_connect=CONNECT_TIMEOUT_S),
        allow_redirects=False,
        trace_request_ctx=sent,
    ) as response:
        body = await response.read()
        return Answer(endpoint, response.status, response.headers, body)


async def _while_it_lives(
    http: aiohttp.ClientSession, endpoint: str, asking: Coroutine[Any, Any, Answer]
) -> Answer:
    """The answer; ClientError if the node has died, of which a silent connection tells nothing."""
    asked = asyncio.create_task(asking)
    try:
        while not (await asyncio.wait((asked,), timeout=PULSE_S))[0]:
            if not await _lives(http, endpoint) and not asked.done():
                raise aiohttp.ClientError("it gives no sign of life")
        return asked.result()
    finally:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def _lives(http: aiohttp.ClientSession, endpoint: str) -> bool:
    """Whatever it answers."""
    url = URL(endpoint + LIVENESS, encoded=True)
    timeout = aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S)
    try:
        async with http.get(url, timeout=timeout, allow_redirects=False):
            return True
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def once_at(
    http: aiohttp.ClientSession, endpoint: str, request: Request, shape: type[T], timeout_s: float
) -> T | RaftcacheError:
    """The same where no other endpoint will do: the body's JSON."""
    got = await attempt_at(http, endpoint, request, timeout_s)
    if isinstance(got, RaftcacheError):
        return got
    if got.status != 200:
        return NotFound(f"{endpoint}: {got.body.decode(errors='replace')[:1000]}")
    try:
        return decoded(got, shape)
    except RaftcacheError as e:
        return e


async def _note_sent(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    """For attempt_at, whose list is the context of the request; other requests have none."""
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.append(True)
