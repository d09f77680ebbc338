"""Clients that number their requests: the state machine against its reference, and its promise.

The limits are those of test_state: two clients, three numbers of each, four answers in all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command.clients import ClientLeave, ClientRegister
from raftcache.command.replies import Reply, Status
from raftcache.command.words import Append, Command, DeleteRange, Get, Number, Once, Put, Txn
from raftcache.state.machine import Machine
from tests.model.state_reference import Reference
from tests.model.test_state import (
    LIMITS,
    Log,
    batches,
    check_against_the_reference,
    run,
)
from tests.model.test_state import _tiny_limits as _tiny_limits
from tests.support.images import check_that_damage_shows, image_of, restored

picks = st.integers(0, 2)
"""Which client: one that there is, the last one that is gone, or one that never was."""
marks = st.tuples(picks, st.integers(0, 4), st.integers(0, 3))
"""Of which client; how far above the lowest that it waits for; how much lower it waits from."""
fingerprints = st.sampled_from([b"f" * 16, b"f" * 16, b"f" * 16, b"g" * 16])
whats: st.SearchStrategy[Any] = st.one_of(
    st.just(Append(b"a", b"x", 100)),
    st.just(Append(b"a", b"x", 2)),
    st.just(Put(b"b", b"v")),
    st.just(Txn((), (Append(b"a", b"y", 100), Get(b"a")))),
    st.just(DeleteRange(b"a", b"b")),
)
numbered = st.tuples(whats, marks, fingerprints)
asked = st.one_of(
    numbered,
    numbered,
    numbered,
    st.just(ClientRegister()),
    st.builds(ClientLeave, picks, st.just(None)),
    st.just(Put(b"b", b"w", once=Once(b"t", b"f" * 16))),
)
steps = st.sampled_from([0, 0, 0, 1, 2, 4, 11, 14, 39, 41])


class _Aim:
    """Makes commands about the clients that a reference has."""

    def __init__(self) -> None:
        self.reference = Reference(*LIMITS)
        self._known: list[int] = []

    def command(self, word: Any) -> Command:
        if isinstance(word, tuple):
            what, (pick, above, below), fingerprint = word
            client = self._client(pick)
            at = self.reference.clients.get(client)
            number = (1 if at is None else at.pending_from) + above
            token = Number(client, number, max(1, number - below))
            fields = {name: getattr(what, name) for name in what.__struct_fields__}
            made: Command = type(what)(**fields | {"once": Once(token, fingerprint)})
            return made
        if isinstance(word, ClientLeave):
            return ClientLeave(self._client(word.client))
        command: Command = word
        return command

    def _client(self, pick: int) -> int:
        self._known += [each for each in self.reference.clients if each not in self._known]
        living = [each for each in self._known if each in self.reference.clients]
        gone = [each for each in self._known if each not in self.reference.clients]
        if pick == 2 and gone:
            return gone[-1]
        return living[pick % len(living)] if living else pick + 1


@st.composite
def numbered_logs(draw: st.DrawFn) -> Log:
    """What is said with numbers mostly is of a client that there is."""
    aim, now_ms, log = _Aim(), 1000, Log()
    for step_ms, words in draw(
        st.lists(st.tuples(steps, st.lists(asked, max_size=5)), max_size=15)
    ):
        now_ms += step_ms
        said: list[Command] = [] if log else [ClientRegister()]
        aim.reference.apply(now_ms, list(said))
        for word in words:
            said.append(aim.command(word))
            aim.reference.apply(now_ms, said[-1:])
        log.append((step_ms, said))
    return log


logs = numbered_logs()


@settings(max_examples=150, deadline=None)
@given(logs)
def test_clients_do_what_the_reference_does(log: Log) -> None:
    machine, reference = check_against_the_reference(log)
    reference.forget_clients()
    living = [id for id in reference.clients if machine.knows_client(id)]
    assert living == list(reference.clients)
    answers = [len(client.answers) for client in reference.clients.values()]
    assert machine.numbered_count >= sum(answers), "but for those of clients that are over"


@settings(max_examples=60, deadline=None)
@given(logs, st.data())
def test_a_restart_from_an_image_changes_nothing(log: Log, data: st.DataObject) -> None:
    straight, restarted = Machine(), Machine()
    for now_ms, batch in batches(log):
        if data.draw(st.integers(0, 3)) == 0:
            restarted = restored(image_of(restarted))
        assert restarted.apply(now_ms, batch) == straight.apply(now_ms, batch)
        assert restarted.digest == straight.digest
        assert restarted.memory_size_bytes == straight.memory_size_bytes
        assert image_of(restarted) == image_of(straight)


@settings(max_examples=60, deadline=None)
@given(logs, logs)
def test_states_are_equal_exactly_when_their_digests_are(one: Log, two: Log) -> None:
    machines = Machine(), Machine()
    run(machines[0], one)
    run(machines[1], two)
    images_equal = image_of(machines[0]) == image_of(machines[1])
    assert (machines[0].digest == machines[1].digest) == images_equal


@settings(max_examples=60, deadline=None)
@given(logs, st.data())
def test_a_damaged_image_is_corrupt_or_the_same(log: Log, data: st.DataObject) -> None:
    machine = Machine()
    run(machine, log)
    check_that_damage_shows(machine, data)


sends = st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 0, 0, 3, 12, 45]))
"""Whether to send a new request, or which of the old ones again; and when."""


@settings(max_examples=150, deadline=None)
@given(st.lists(sends, max_size=60), st.data())
def test_whatever_is_sent_again_is_done_once(
    plan: list[tuple[int, int]], data: st.DataObject
) -> None:
    """However late: duplicates of all that ever was sent come in any order, at any time, also after
    the client was forgotten, and with a lower `pending_from` than was said since."""
    machine, now_ms = Machine(), 1000
    sent: list[Append] = []
    done: Counter[bytes] = Counter()
    pending: list[int] = []
    client, last = 0, 0

    def apply(command: Command) -> Reply:
        return machine.apply(now_ms, next(iter(batches([(0, [command])])))[1])[0]

    for what, step_ms in plan:
        now_ms += step_ms
        if what == 0 or not sent:
            if not client or not machine.knows_client(client):
                reply = apply(ClientRegister())
                if reply.status is not Status.CREATED:
                    continue
                client, last, pending = reply.number, 0, []
            last += 1
            pending.append(last)
            mark = Once(Number(client, last, min(pending)), b"f" * 16)
            sent.append(Append(b"a", b"%d." % len(sent), 1 << 20, once=mark))
            command = sent[-1]
        else:
            command = data.draw(st.sampled_from(sent))
        reply = apply(command)
        if reply.status in (Status.CREATED, Status.CHANGED) and not reply.replayed:
            done[command.value] += 1
        token = command.once and command.once.token
        assert isinstance(token, Number)
        if token.client == client and token.number in pending and data.draw(st.booleans()):
            pending.remove(token.number)  # it has its answer, or does not care any more
    assert max(done.values(), default=1) == 1
    item = machine.get(b"a")
    parts = [] if item is None else item.value.split(b".")[:-1]
    assert Counter(part + b"." for part in parts) == done
