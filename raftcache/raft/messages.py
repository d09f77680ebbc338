"""The shape of every message between two nodes: what `frames.py` checks, and sends. No logic.

Whoever handles a message may trust its fields and their types. What it means is not said by its
shape. Fields that this version does not know are dropped, so that a newer version may add some;
types it does not know are refused, so a newer version must not send them to a link that speaks an
older one.
"""

# No `from __future__ import annotations`: under Python 3.11 it hides NotRequired from TypedDict.
from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias, TypedDict

from msgspec import Meta

from raftcache.command.globs import GLOB_SIZE_BYTES_MAX
from raftcache.command.limits import ACCESSES_REPORTED_MAX, KEY_SIZE_BYTES_MAX

Message: TypeAlias = dict[str, Any]

Natural: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Version: TypeAlias = Annotated[int, Meta(ge=1, le=(1 << 15) - 1)]
Digest: TypeAlias = Annotated[bytes, Meta(min_length=8, max_length=8)]
Entry: TypeAlias = tuple[bytes, Natural, Natural]
"""(command, index, term)"""

MAGIC: Final = "raftcache"

HOLDS_ALL: Final = (1 << 63) - 1
"""More than any log; see Hello."""


# -- what links say to each other; the engine never sees these -----------------------------------


class Hello(TypedDict):
    """The first frame each way. Its shape holds for every version of the protocol.

    version_min, version_max: of the protocol. commands_version: see command/versions.py.
    members_version: of the latest configuration in its log (raft/members.py).
    resp: "" if it serves no Redis clients; older versions did not, and do not say so.
    life: drawn at each start of a process, so that two on copies of one data can be told apart;
        older versions do not say it.
    holds: the last index of its log; HOLDS_ALL if that may rightly become less, since it does not
        wait for its disk, or does not say so as older versions.
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
    life: NotRequired[str]
    holds: NotRequired[Natural]
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


class SubscribersAsk(TypedDict):
    """From protocol 3: how many listen at the receiver to each of these names."""

    type: Literal["subscribers_ask"]
    id: Natural
    scope: Literal["channel", "pattern", "shard channel"]
    names: list[bytes]


class SubscribersSearch(TypedDict):
    """From protocol 3: the same of all names that fit this."""

    type: Literal["subscribers_ask"]
    id: Natural
    scope: Literal["channel", "pattern", "shard channel"]
    pattern: Annotated[bytes, Meta(max_length=GLOB_SIZE_BYTES_MAX)]


class SubscribersReply(TypedDict):
    """From protocol 3. counts: without those that nobody listens to; None if they are too many."""

    type: Literal["subscribers_reply"]
    id: Natural
    counts: list[tuple[bytes, Natural]] | None


# -- what engines say to each other --------------------------------------------------------------


class Headed(TypedDict):
    """What a leader puts into each message by which it leads.

    fresh: when nobody but the sender led, for sure; if unsaid, now (freshness.py).
    lease: whether the sender counts on not being replaced; if unsaid, it may (rounds.py).
    full: fewer than a majority of the voters have room on their disks (room.py); if unsaid, not.
    """

    term: Natural
    commit_index: Natural
    seq: Natural
    now: Natural
    fresh: NotRequired[Natural]
    lease: NotRequired[bool]
    full: NotRequired[bool]


class AppendEntries(Headed):
    type: Literal["append_entries"]
    prevLogIdx: Natural
    prevLogTerm: Natural
    entries: list[Entry]


class NextNodeIdx(TypedDict):
    """short: the sender's disk has hardly any room (room.py); if unsaid, it has."""

    type: Literal["next_node_idx"]
    term: Natural
    seq: Natural
    next_node_idx: Natural
    reset: bool
    success: bool
    short: NotRequired[bool]


class Ping(Headed):
    """answer: whether a pong is asked for; if unsaid, it is."""

    type: Literal["ping"]
    answer: NotRequired[bool]


class Pong(TypedDict):
    """short: as in NextNodeIdx."""

    type: Literal["pong"]
    term: Natural
    seq: Natural
    short: NotRequired[bool]


class RequestVote(TypedDict):
    type: Literal["request_vote"]
    term: Natural
    last_log_index: Natural
    last_log_term: Natural
    version: Natural
    voter_id: str
    force: bool


class ResponseVote(TypedDict):
    """now: the voter's cluster time, 0 if it does not know that; if unsaid, the same."""

    type: Literal["response_vote"]
    term: Natural
    now: NotRequired[Natural]


class PreVote(TypedDict):
    type: Literal["pre_vote"]
    term: Natural
    last_log_index: Natural
    last_log_term: Natural
    version: Natural
    voter_id: str


class PreVoteOk(TypedDict):
    """now: as of a vote."""

    type: Literal["pre_vote_ok"]
    term: Natural
    now: NotRequired[Natural]


class Term(TypedDict):
    type: Literal["term"]
    term: Natural


class TimeoutNow(TypedDict):
    type: Literal["timeout_now"]
    term: Natural


class SnapshotChunk(Headed):
    type: Literal["snapshot_chunk"]
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
    "subscribers_ask": (SubscribersAsk, SubscribersSearch),
    "subscribers_reply": (SubscribersReply,),
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

PASSED_ON_SINCE: Final = {"accesses": 2, "subscribers_ask": 3, "subscribers_reply": 3}
"""What the engine never sees, and the protocol that brought it: a link of an older one must not get
any."""

GREETINGS: Final = frozenset(("hello", "refused"))
