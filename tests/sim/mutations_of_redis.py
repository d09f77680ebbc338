"""Our state machine with one rule of Redis' commands taken out; see mutations.py."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest import mock

from msgspec.structs import replace

from raftcache.command import versions
from raftcache.command.calls import Calls
from raftcache.command.replies import CallsReply
from raftcache.raft.engine.membership import SyncObj
from raftcache.service import pipeline
from raftcache.service.gathering import Reading
from raftcache.service.scripting.scripts import Played, Scripts
from raftcache.state.changes import Changes, Mark
from raftcache.state.redis import group_reads
from raftcache.state.redis.execute import CallCommands
from raftcache.state.redis.rehearsal import Rehearsal
from raftcache.state.redis.store import Store
from raftcache.state.redis.stream_groups import Group
from raftcache.state.rows import Rows
from raftcache.state.sessions import Sessions
from tests.sim import stories
from tests.sim.mutation import Mutation

_undo_rightly: Final = Changes.undo_to
_execute_rightly: Final = CallCommands.execute


def own_dice() -> AbstractContextManager[Any]:
    """What is drawn is not what the call says."""
    dice = random.Random(0)
    return mock.patch.object(Store, "below", lambda store, count: dice.randrange(count))


def rows_not_undone() -> AbstractContextManager[Any]:
    """Keys go back to what they were, and rows do not."""

    def undo_to(changes: Changes, mark: Mark) -> None:
        del changes._rows[mark.rows :]
        _undo_rightly(changes, mark)

    return mock.patch.object(Changes, "undo_to", undo_to)


def discarded_stays_so() -> AbstractContextManager[Any]:
    """A collection that has its key again is freed all the same."""
    return mock.patch.object(Rows, "restore", return_value=None)


def reads_without_a_round() -> AbstractContextManager[Any]:
    """GETs are answered from whatever state this node has."""

    def begin(reading: Reading) -> None:
        asked, reading._asked = reading._asked, []
        reading._answer(asked, None)

    return mock.patch.object(Reading, "_begin", begin)


def no_watch() -> AbstractContextManager[Any]:
    def execute(commands: CallCommands, command: Calls) -> CallsReply:
        return _execute_rightly(commands, replace(command, watched=()))

    return mock.patch.object(CallCommands, "execute", execute)


def rows_not_freed() -> AbstractContextManager[Any]:
    return mock.patch.object(Rows, "free", return_value=None)


def done_again() -> AbstractContextManager[Any]:
    """What was done under a number is not remembered."""
    return mock.patch.object(Sessions, "find", return_value=None)


def goes_on_unanswered() -> AbstractContextManager[Any]:
    """A numbered call is begun though one before it has no answer."""
    return mock.patch.object(pipeline, "is_open", return_value=False)


def used_too_early() -> AbstractContextManager[Any]:
    """As if no voter were of an older version."""

    def commands_version(engine: SyncObj) -> int:
        return versions.COMMANDS

    return mock.patch.object(SyncObj, "commands_version", commands_version)


def unguarded_scripts() -> AbstractContextManager[Any]:
    """What a script has seen may be another thing when what it did is done."""

    def guarded(scripts: Scripts, word: Calls, played: Played) -> Calls:
        return _guard_rightly(scripts, replace(word, watched=()), played)

    return mock.patch.object(Scripts, "_guarded", guarded)


_guard_rightly: Final = Scripts._guarded


def scripts_not_looked_up() -> AbstractContextManager[Any]:
    """A numbered script is run without a look whether it was done."""
    return mock.patch.object(Rehearsal, "remembered", return_value=None)


def scripts_with_traces() -> AbstractContextManager[Any]:
    """What was rehearsed stays, at the node that did it."""
    return mock.patch.object(Changes, "undo", Changes.commit)


def groups_begin_again() -> AbstractContextManager[Any]:
    """What a group was given is given to the next consumer, too."""
    return mock.patch.object(group_reads, "advance", return_value=None)


def nothing_pending() -> AbstractContextManager[Any]:
    """What was given to a consumer who was not told so is lost."""
    return mock.patch.object(Group, "give", return_value=None)


MUTATIONS: Final = (
    Mutation("each member throws dice of its own", own_dice, "redis", 5, word="own-dice"),
    Mutation("rows of a call that failed are not undone", rows_not_undone, "redis", 3),
    Mutation("what an undone call discarded stays so", discarded_stays_so, "redis", 3),
    Mutation("watched revisions are not compared", no_watch, "redis", 3, word="no-watch"),
    Mutation(
        "GETs have no round",
        reads_without_a_round,
        "redis",
        5,
        word="early-gets",
        story=stories.leaders_seem_to_have_ended,
    ),
    Mutation("rows of what is gone are not freed", rows_not_freed, "redis", 3),
    Mutation("calls tried again are done again", done_again, "redis", 5),
    Mutation("what scripts saw is not compared", unguarded_scripts, "redis", 12),
    Mutation("numbered scripts are not looked up", scripts_not_looked_up, "redis", 16, first=44),
    Mutation("what was rehearsed stays", scripts_with_traces, "redis", 3),
    Mutation("a group forgets what it was given", groups_begin_again, "redis", 3),
    Mutation("what a consumer was given is not pending", nothing_pending, "redis", 2, first=9),
    Mutation(
        "numbered calls do not wait",
        goes_on_unanswered,
        "redis",
        8,
        story=stories.leaders_seem_to_have_ended,
    ),
    Mutation(
        "calls are used before every voter knows them",
        used_too_early,
        "upgrades",
        2,
        story=stories.every_version_comes,
    ),
)
