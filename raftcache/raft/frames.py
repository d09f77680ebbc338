"""The bytes between two nodes: frames of MessagePack, and the shape of every message. No IO.

A frame is its body's size (4 bytes, little endian) and the body: one map with a `type`. What a
peer sent is checked here, once, against the table of shapes: whoever handles a message may trust
its fields and their types. What a message means is not checked here.

A link begins with a greeting (hello, or refused) of at most HELLO_SIZE_BYTES_MAX: a stranger can
make this node keep no more than that. Fields that this version does not know are dropped, so that
a newer version may add some; types it does not know are refused, so a newer version must not send
them to a link that speaks an older one.
"""

# No `from __future__ import annotations`: under Python 3.11 it hides NotRequired from TypedDict.
import contextlib
import struct
from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias, TypedDict

import msgspec
from msgspec import Meta

from raftcache.command.limits import (
    ACCESSES_REPORTED_MAX,
    FRAME_SIZE_BYTES_MAX,
    KEY_SIZE_BYTES_MAX,
)
from raftcache.errors import BadRequest

MAGIC: Final = "raftcache"

HELLO_SIZE_BYTES_MAX: Final = 4096
"""A greeting: two names, an id and a few numbers need far less."""

HEADER_SIZE_BYTES: Final = 4

Message: TypeAlias = dict[str, Any]

Natural: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Version: TypeAlias = Annotated[int, Meta(ge=1, le=(1 << 15) - 1)]
Digest: TypeAlias = Annotated[bytes, Meta(min_length=8, max_length=8)]
Entry: TypeAlias = tuple[bytes, Natural, Natural]
"""(command, index, term)"""


class BadFrame(BadRequest):
    """Bytes from a peer that are no message; the link they came on cannot go on."""

    title = "bad frame"


# -- what links say to each other; the engine never sees these -----------------------------------


class Hello(TypedDict):
    """The first frame each way. Its shape holds for every version of the protocol.

    version_min, version_max: of the protocol. commands_version: see command/versions.py.
    members_version: of the latest configuration in its log (raft/members.py).
    resp: "" if it serves no Redis clients; older versions did not, and do not say so.
    """

    type: Literal["hello"]
    magic: Literal["raftcache"]
    version_min: Version
    version_max: Version
    commands_version: Version
    cluster_id: str
    name: str
    incarnation: Natural
    members_version: Natural
    member_id: str
    raft: str
    http: str
    resp: NotRequired[str]
    to: str


class Refused(TypedDict):
    """The last frame: why the sender closes the link."""

    type: Literal["refused"]
    reason: str
    detail: str


class Alive(TypedDict):
    """Sent when there was nothing else to send for a while."""

    type: Literal["alive"]


Key: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=KEY_SIZE_BYTES_MAX)]


class Accesses(TypedDict):
    """From protocol 2: keys that were read at the sender lately, and how often; a sample."""

    type: Literal["accesses"]
    keys: Annotated[list[tuple[Key, Natural]], Meta(max_length=ACCESSES_REPORTED_MAX)]


# -- what engines say to each other --------------------------------------------------------------


class AppendEntries(TypedDict):
    """fresh: when nobody but the sender led, for sure; if unsaid, now (freshness.py).
    lease: whether the sender counts on not being replaced; if unsaid, it may (rounds.py).
    """

    type: Literal["append_entries"]
    term: Natural
    commit_index: Natural
    seq: Natural
    now: Natural
    fresh: NotRequired[Natural]
    lease: NotRequired[bool]
    prevLogIdx: Natural
    prevLogTerm: Natural
    entries: list[Entry]


class NextNodeIdx(TypedDict):
    type: Literal["next_node_idx"]
    term: Natural
    seq: Natural
    next_node_idx: Natural
    reset: bool
    success: bool


class Ping(TypedDict):
    """answer: whether a pong is asked for; if unsaid, it is."""

    type: Literal["ping"]
    term: Natural
    commit_index: Natural
    seq: Natural
    now: Natural
    fresh: NotRequired[Natural]
    lease: NotRequired[bool]
    answer: NotRequired[bool]


class Pong(TypedDict):
    type: Literal["pong"]
    term: Natural
    seq: Natural


class RequestVote(TypedDict):
    type: Literal["request_vote"]
    term: Natural
    last_log_index: Natural
    last_log_term: Natural
    version: Natural
    voter_id: str
    force: bool


class ResponseVote(TypedDict):
    type: Literal["response_vote"]
    term: Natural


class PreVote(TypedDict):
    type: Literal["pre_vote"]
    term: Natural
    last_log_index: Natural
    last_log_term: Natural
    version: Natural
    voter_id: str


class PreVoteOk(TypedDict):
    type: Literal["pre_vote_ok"]
    term: Natural


class Term(TypedDict):
    type: Literal["term"]
    term: Natural


class TimeoutNow(TypedDict):
    type: Literal["timeout_now"]
    term: Natural


class SnapshotChunk(TypedDict):
    type: Literal["snapshot_chunk"]
    term: Natural
    commit_index: Natural
    seq: Natural
    now: Natural
    fresh: NotRequired[Natural]
    lease: NotRequired[bool]
    index: Natural
    index_term: Natural
    offset: Natural
    data: bytes
    last: bool


class SnapshotAck(TypedDict):
    type: Literal["snapshot_ack"]
    term: Natural
    seq: Natural
    index: Natural
    offset: Natural


class ApplyCommand(TypedDict):
    type: Literal["apply_command"]
    command: bytes
    request_id: Natural


class CommandPlaced(TypedDict):
    type: Literal["apply_command_response"]
    request_id: Natural
    log_idx: Natural
    log_term: Natural


class CommandRefused(TypedDict):
    type: Literal["apply_command_response"]
    request_id: Natural
    error: Natural


class ChangeMembers(TypedDict):
    type: Literal["change_members"]
    id: Natural
    change: bytes


class ChangeMembersReply(TypedDict):
    type: Literal["change_members_reply"]
    id: Natural
    error: str
    detail: str
    body: bytes


class DigestAsk(TypedDict):
    type: Literal["digest_ask"]
    term: Natural
    index: Natural


class DigestReply(TypedDict):
    type: Literal["digest_reply"]
    term: Natural
    index: Natural
    digest: Digest


class DigestVerdict(TypedDict):
    """To a replica that differs: what a majority has at that index."""

    type: Literal["digest_verdict"]
    term: Natural
    index: Natural
    digest: Digest


class ReadIndex(TypedDict):
    type: Literal["read_index"]
    id: Natural
    term: NotRequired[Natural]


class ReadIndexReply(TypedDict):
    type: Literal["read_index_reply"]
    id: Natural
    index: Natural | None


SHAPES: Final[dict[str, tuple[Any, ...]]] = {
    "hello": (Hello,),
    "refused": (Refused,),
    "alive": (Alive,),
    "accesses": (Accesses,),
    "append_entries": (AppendEntries,),
    "next_node_idx": (NextNodeIdx,),
    "ping": (Ping,),
    "pong": (Pong,),
    "request_vote": (RequestVote,),
    "response_vote": (ResponseVote,),
    "pre_vote": (PreVote,),
    "pre_vote_ok": (PreVoteOk,),
    "term": (Term,),
    "timeout_now": (TimeoutNow,),
    "snapshot_chunk": (SnapshotChunk,),
    "snapshot_ack": (SnapshotAck,),
    "apply_command": (ApplyCommand,),
    "apply_command_response": (CommandPlaced, CommandRefused),
    "change_members": (ChangeMembers,),
    "change_members_reply": (ChangeMembersReply,),
    "digest_ask": (DigestAsk,),
    "digest_reply": (DigestReply,),
    "digest_verdict": (DigestVerdict,),
    "read_index": (ReadIndex,),
    "read_index_reply": (ReadIndexReply,),
}
"""type -> the shapes it may have, the likeliest first."""

ACCESSES_SINCE: Final = 2
"""The protocol that brought `accesses`: a link of an older one must not get any."""

GREETINGS: Final = frozenset(("hello", "refused"))


class _Kind(msgspec.Struct):
    type: str


_kind = msgspec.msgpack.Decoder(_Kind)
_decoders = {
    kind: [msgspec.msgpack.Decoder(shape) for shape in shapes] for kind, shapes in SHAPES.items()
}
_fields = {
    kind: tuple(frozenset(shape.__annotations__) for shape in shapes)
    for kind, shapes in SHAPES.items()
}
_encoder = msgspec.msgpack.Encoder()
_header = struct.Struct("<I")


def encode(message: Message) -> bytes:
    """One frame, header and body.

    The message must have one of the declared shapes and fit into a frame: the peer would cut the
    link at anything else. Both are asserted, for they are the sender's faults, not the peer's.
    """
    kind = message["type"]
    fits = message.keys() in _fields.get(kind, ())
    assert fits, f"not as declared in frames.py: {kind}, {sorted(message)}"
    body = _encoder.encode(message)
    assert len(body) <= FRAME_SIZE_BYTES_MAX, f"{kind} of {len(body)} bytes"
    return _header.pack(len(body)) + body


def decode(body: bytes | memoryview) -> Message:
    """The message of one frame's body. Raises BadFrame, and nothing else."""
    try:
        kind = _kind.decode(body).type
        if kind not in _decoders:
            raise BadFrame(f"unknown type {kind[:40]!r}")
        *others, last = _decoders[kind]
        for decoder in others:
            with contextlib.suppress(msgspec.ValidationError):
                return decoder.decode(body)  # type: ignore[no-any-return]
        return last.decode(body)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as e:  # msgspec's and bad UTF-8; arrays in arrays
        raise BadFrame(str(e)) from e


class FrameDecoder:
    """One direction of one link: bytes in, split anywhere; messages out, in order.

    Keeps at most one unfinished frame and one piece of input. After BadFrame it is not to be fed
    again, and messages that came before the bad frame in the same piece are lost.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._greeted = False
        self._size_bytes_max = HELLO_SIZE_BYTES_MAX

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in this piece. Raises BadFrame."""
        if not self._pending:
            messages, used = self._split(data)
            if used < len(data):
                self._pending += memoryview(data)[used:]
        else:
            self._pending += data
            messages, used = self._split(self._pending)
            del self._pending[:used]
        return messages

    def _split(self, data: bytes | bytearray) -> tuple[list[Message], int]:
        """The messages at the start of data, and the size of their frames."""
        messages, start, end_max, view = [], 0, len(data), memoryview(data)
        while (body := start + HEADER_SIZE_BYTES) <= end_max:
            (size_bytes,) = _header.unpack_from(data, start)
            if size_bytes > self._size_bytes_max:
                limit = f"the limit is {self._size_bytes_max}"
                raise BadFrame(f"a frame of {size_bytes} bytes; {limit}")
            end = body + size_bytes
            if end > end_max:
                break
            message = decode(view[body:end])
            if not self._greeted or message["type"] == "hello":
                self._greet(message["type"])
            messages.append(message)
            start = end
        view.release()  # what is pending can shrink again
        return messages, start

    def _greet(self, kind: str) -> None:
        if self._greeted:
            raise BadFrame("a second hello")
        if kind not in GREETINGS:
            raise BadFrame(f"{kind} before the greeting")
        self._greeted, self._size_bytes_max = True, FRAME_SIZE_BYTES_MAX


assert HELLO_SIZE_BYTES_MAX < FRAME_SIZE_BYTES_MAX
