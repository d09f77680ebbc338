"""Registers: every key is read, written, and compared and set by revision; each key must look as
if all of that had happened one at a time.

Values are unique, so a value names the write it came from. Revisions are given out by the cluster
and grow, so they name it too: what one client was told as a value's revision binds all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from chaos.history import Anomaly, Operation, Outcome, by_key
from chaos.linearizability import Call, Step, Undecided, first_inexplicable
from chaos.workloads.base import Client, Stage, Workload, of_each
from raftcache.client import Found, Written

KEYS: Final = 8

ABSENT: Final = ("", 0)
"""Value and revision of a key that is not there; nobody writes an empty value."""

Known = dict[str, tuple[str, int]]
"""key -> value and revision, as a client saw it last."""


class Register(Workload):
    name = "register"
    about = "read, write, compare-and-set by revision; linearizable per key"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._known: dict[int, Known] = {}

    async def act(self, client: Client) -> None:
        key = f"{self.name}:{client.dice.randrange(KEYS)}"
        known = self._known.setdefault(client.number, {})
        chance = client.dice.random()
        if chance < 0.4:
            await self._read(client, key, known)
        elif chance < 0.7 or key not in known:
            await self._write(client, key, known)
        else:
            await self._compare_and_set(client, key, known)

    async def finish(self, readers: Sequence[Client]) -> None:
        for key in range(KEYS):
            for reader in readers:
                await self._read(reader, f"{self.name}:{key}", {})

    async def _read(self, client: Client, key: str, known: Known) -> None:
        real, level = self.stage.real_key(key), self.stage.reads
        work = client.api.get(real, consistency=level)
        found = await client.attempt("read", key, None, work, _shown)
        if found is not None:
            known[key] = (found.value.decode(), found.revision)

    async def _write(self, client: Client, key: str, known: Known) -> None:
        value = client.unique()
        work = client.api.put(self.stage.real_key(key), value.encode())
        written = await client.attempt("write", key, value, work, lambda w: w.revision)
        if written is not None:
            known[key] = (value, written.revision)

    async def _compare_and_set(self, client: Client, key: str, known: Known) -> None:
        """If-Match with the revision seen last, which may be long gone."""
        (expected, revision), value = known.pop(key), client.unique()
        work = client.api.put(self.stage.real_key(key), value.encode(), only_if_revision=revision)
        argument = [expected, revision, value]
        written = await client.attempt("cas", key, argument, work, _swapped)
        if written is not None and written.applied:
            known[key] = (value, written.revision)

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        return of_each(by_key(operations), _judge_key)


def _shown(found: Found | None) -> list[object]:
    """Of a read: value and revision."""
    return list(ABSENT) if found is None else [found.value.decode(), found.revision]


def _swapped(written: Written) -> list[object]:
    """Of a compare-and-set: whether it was done, and the revision of the key after it."""
    return [written.applied, written.revision]


# --- the model ----------------------------------------------------------------------------------


class Word(NamedTuple):
    """What one call did, with what is known of it from anywhere in the history.

    needs: the value that must be there before, "*" if any may be.
    needs_revision: likewise; None if it does not matter.
    sets: the value and revision after it, None if it changes nothing.
    """

    operation: Operation
    needs: str
    needs_revision: int | None
    sets: tuple[str, int] | None


State = tuple[str, int]
"""Value and revision."""


def step(state: State, word: Word) -> State | None:
    """See linearizability.Step."""
    value, revision = state
    if word.needs not in ("*", value) or word.needs_revision not in (None, revision):
        return None
    if word.sets is None:
        return state
    return word.sets if word.sets[1] > revision else None


class _Book:
    """What a key's operations say about each value: its revision, and who saw it first."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.revision_of: dict[str, int] = {}
        self.seen_ns: dict[str, int] = {}
        """value -> when the first one who saw it had its answer"""
        self.contradictions: list[tuple[str, Operation]] = []
        self._shown: dict[int, Operation] = {}
        for operation in operations:
            if operation.ok:
                self._note(operation)
        known = {0, *self.revision_of.values()}
        self.nobodys = {r: shown for r, shown in self._shown.items() if r not in known}
        """Revisions that a refused compare-and-set was shown, of values that nobody saw."""

    def _note(self, operation: Operation) -> None:
        at_ns, result = operation.completed_ns or 0, operation.result
        if operation.kind == "read":
            self._bind(result[0], result[1], operation)
            self._see(result[0], at_ns)
        elif operation.kind == "write":
            self._bind(operation.argument, result, operation)
        else:
            expected, revision, value = operation.argument
            self._bind(expected, revision, operation)
            if result[0]:
                self._bind(value, result[1], operation)
                self._see(expected, at_ns)
            else:
                self._shown[result[1]] = operation

    def _bind(self, value: str, revision: int, operation: Operation) -> None:
        if self.revision_of.setdefault(value, revision) != revision:
            self.contradictions.append((value, operation))

    def _see(self, value: str, at_ns: int) -> None:
        self.seen_ns[value] = min(at_ns, self.seen_ns.get(value, at_ns))


def calls_of(operations: Sequence[Operation]) -> list[Call[Word]]:
    """The history of one key in the words of the model.

    A write with an unknown outcome may come at any time, or never. But once its value was seen it
    has happened, before the first one who saw it had the answer; and one whose value nobody ever
    saw explains nothing, and is left out. So is a compare-and-set that was refused because of such
    a value.
    """
    book = _Book(operations)
    calls = (_call(operation, book) for operation in operations)
    return [call for call in calls if call is not None]


def _call(operation: Operation, book: _Book) -> Call[Word] | None:
    if operation.outcome is Outcome.FAIL or (operation.kind == "read" and not operation.ok):
        return None
    begin_ns, end_ns = operation.invoked_ns, operation.completed_ns or 0
    if operation.kind == "read":
        value, revision = operation.result
        return Call(Word(operation, value, revision, None), begin_ns, end_ns, changes=False)
    expected, revision, value = "*", None, operation.argument
    if operation.kind == "cas":
        expected, revision, value = operation.argument
        if operation.ok and not operation.result[0]:
            word = Word(operation, "*", operation.result[1], None)
            explained = operation.result[1] not in book.nobodys
            return Call(word, begin_ns, end_ns, changes=False) if explained else None
    if operation.outcome is Outcome.UNKNOWN:
        if value not in book.seen_ns:
            return None
        end_ns = max(book.seen_ns[value], begin_ns)
    word = Word(operation, expected, revision, (value, book.revision_of[value]))
    return Call(word, begin_ns, end_ns)


# --- the verdict --------------------------------------------------------------------------------


def _judge_key(key: str, operations: Sequence[Operation]) -> Iterator[Anomaly]:
    book = _Book(operations)
    for value, operation in book.contradictions:
        yield Anomaly(key, f"{value!r} was shown with two revisions", (operation,))
    unknown = [op for op in operations if op.kind != "read" and op.outcome is Outcome.UNKNOWN]
    if len(book.nobodys) > len(unknown):
        sentence = "more revisions were shown than writes can have happened"
        yield Anomaly(key, sentence, tuple(book.nobodys.values()))
    yield from unexplained(key, calls_of(operations), step, lambda last: _reason(last, operations))


def unexplained(
    key: str, calls: Sequence[Call[Word]], step: Step[State, Word], reason: Callable[[Word], str]
) -> Iterator[Anomaly]:
    """What shows that these have no order, if so. reason: of the last call of that."""
    try:
        last = first_inexplicable(calls, ABSENT, step)
    except Undecided as e:
        yield Anomaly(key, f"could not be judged: {e}")
        return
    if last is None:
        return
    piece = _shortest_piece(_until_completion(calls, last), step)
    evidence = tuple(sorted((c.word.operation for c in piece), key=lambda op: op.invoked_ns))
    yield Anomaly(key, f"no order explains this; {reason(last.word)}", evidence)


def _reason(word: Word, operations: Sequence[Operation]) -> str:
    """What is special about the value that the last call of the piece needed."""
    for operation in operations:
        if operation.kind == "read" or operation.outcome is not Outcome.FAIL:
            continue
        value = operation.argument if operation.kind == "write" else operation.argument[2]
        if value == word.needs:
            return f"{value!r} was refused, and yet seen"
    return f"it cannot end with: {word.operation}"


def _until_completion(calls: Sequence[Call[Word]], last: Call[Word]) -> list[Call[Word]]:
    """The prefix of history up to the completion of this call; what goes on then stays open."""
    end_ns = last.completed_ns
    assert end_ns is not None
    prefix = []
    for call in calls:
        if call.completed_ns is not None and call.completed_ns <= end_ns:
            prefix.append(call)
        elif call.invoked_ns <= end_ns:
            prefix.append(msgspec.structs.replace(call, completed_ns=None))
    return prefix


def _shortest_piece(calls: Sequence[Call[Word]], step: Step[State, Word]) -> list[Call[Word]]:
    """As few of the calls as still have no order; what is left proves the fault by itself.

    Calls are dropped by value: a write together with everyone who saw its value; then reads one by
    one. If the history had an order, so would what is left of it (a compare-and-set that follows a
    dropped value turns into a write), so what has none proves that the history has none.
    """

    def inexplicable(piece: Sequence[Call[Word]]) -> bool:
        return first_inexplicable(piece, ABSENT, step) is not None

    values = list(dict.fromkeys(value for call in calls for value in _values(call.word)))
    piece = _shrink(list(calls), values, inexplicable)
    for call in [call for call in piece if not call.changes]:
        fewer = [other for other in piece if other is not call]
        if inexplicable(fewer):
            piece = fewer
    return piece


def _shrink(
    calls: list[Call[Word]],
    values: list[str],
    bad: Callable[[Sequence[Call[Word]]], bool],
) -> list[Call[Word]]:
    """Drop values as long as it stays bad: halves first, then ever smaller groups."""
    size = max(1, len(values) // 2)
    while True:
        dropped = False
        for start in range(0, len(values), size):
            group = set(values[start : start + size])
            fewer = _without(calls, group)
            if bad(fewer):
                calls, dropped = fewer, True
                values = [value for value in values if value not in group]
                break
        if not dropped and size == 1:
            return calls
        if not dropped:
            size = max(1, size // 2)


def _values(word: Word) -> Iterator[str]:
    """Those whose dropping drops this call."""
    if word.sets is not None:
        yield word.sets[0]
    elif word.needs != "*":
        yield word.needs
    else:  # a refused compare-and-set: it saw a revision only
        yield f"refused {word.operation.argument[2]}"


def _without(calls: Sequence[Call[Word]], values: set[str]) -> list[Call[Word]]:
    left = []
    for call in calls:
        word = call.word
        if values.intersection(_values(word)):
            continue
        if word.sets is None and word.needs == "*" and _shows(word, calls, values):
            continue
        if word.needs in values:
            word = word._replace(needs="*", needs_revision=None)
        left.append(msgspec.structs.replace(call, word=word))
    return left


def _shows(word: Word, calls: Sequence[Call[Word]], values: set[str]) -> bool:
    """Whether a refused compare-and-set was shown the revision of one of these values."""
    return any(
        call.word.sets is not None
        and call.word.sets[0] in values
        and call.word.sets[1] == word.needs_revision
        for call in calls
    )
