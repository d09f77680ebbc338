"""Bank: money moves between accounts in transactions; none is lost, and none is moved twice.

A transfer reads all accounts, compares the two it concerns with what it saw, by revision or by
value, and writes both, and a line of the ledger under its own id, in one revision. It is sent with
one Idempotency-Key until it is known what became of it. In the end the ledger says which transfers
were done, at which revisions. So it can be played again, and every look at the accounts, all of
them in one transaction or page by page, must have seen what they were at its revision.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from chaos.history import Anomaly, Operation, Outcome
from chaos.workloads.base import Client, Workload
from raftcache.client import Consistency, Entry, RaftcacheClient, Txn, TxnDone
from raftcache.errors import Compacted

ACCOUNTS: Final = 5
OPENING: Final = 100
"""What each account has at first."""
LOOKS: Final = 0.3
"""The part of what a client does that only looks; a transfer looks first, too."""
PAGE_ACCOUNTS: Final = 2
"""So that a listing takes three pages, often from different nodes."""
PAGE_LINES: Final = 1000

BANK: Final = "bank:"
ACCOUNT: Final = "bank:account:"
LEDGER: Final = "bank:ledger:"

Account = list[int]
"""Balance, and the revision that wrote it."""


class Bank(Workload):
    name = "bank"
    about = "transfers between accounts; every look sees one revision, each is done once or never"

    async def begin(self, client: Client) -> None:
        txn = Txn()
        for account in range(ACCOUNTS):
            txn.then.put(self._account(account), b"%d" % OPENING)
        argument = [OPENING] * ACCOUNTS
        work = lambda once: client.api.txn(txn, idempotency_key=once)  # noqa: E731
        await client.insist("open", BANK, argument, work, lambda done: done.revision)

    async def act(self, client: Client) -> None:
        if client.dice.random() < 0.5:
            seen = await self._read(client)
        else:
            seen = await self._list(client)
        if seen is not None and len(seen) == ACCOUNTS and client.dice.random() >= LOOKS:
            await self._transfer(client, seen)

    async def finish(self, readers: Sequence[Client]) -> None:
        """The accounts and the ledger, through each node."""
        for reader in readers:
            await self._read(reader)
            await self._list(reader)
            work = _listing(reader.api, self.stage.real_key(LEDGER), PAGE_LINES)
            await reader.attempt("final", BANK, None, work, self._shown_ledger)

    def _account(self, account: int) -> bytes:
        return self.stage.real_key(f"{ACCOUNT}{account}")

    async def _read(self, client: Client) -> list[Account] | None:
        """In one transaction."""
        txn = Txn()
        for account in range(ACCOUNTS):
            txn.then.get(self._account(account))
        done = await client.attempt("read", BANK, None, client.api.txn(txn), _shown_results)
        return None if done is None else _accounts(result.entry for result in done.results)

    async def _list(self, client: Client) -> list[Account] | None:
        """Page by page, all of one revision."""
        real, level = self.stage.real_key(ACCOUNT), self.stage.reads
        work = _listing(client.api, real, PAGE_ACCOUNTS, level)
        listing = await client.attempt("list", BANK, None, work, _shown_accounts)
        return None if listing is None else _accounts(listing.entries)

    async def _transfer(self, client: Client, seen: Sequence[Account]) -> None:
        accounts = client.dice.sample(range(ACCOUNTS), 2)
        saw = [seen[account] for account in accounts]
        if saw[0][0] <= 0:
            return
        argument = {
            "id": client.unique(),
            "accounts": accounts,
            "amount": client.dice.randint(1, saw[0][0]),
            "saw": saw,
            "by": client.dice.choice(("revision", "value")),
        }
        txn = self._txn(argument)
        work = lambda once: client.api.txn(txn, idempotency_key=once)  # noqa: E731
        show = lambda done: [done.succeeded, done.revision]  # noqa: E731
        await client.insist("transfer", BANK, argument, work, show)

    def _txn(self, argument: Mapping[str, Any]) -> Txn:
        txn, by = Txn(), argument["by"]
        if not self.stage.blind_transfers:
            for account, (balance, revision) in zip(
                argument["accounts"], argument["saw"], strict=True
            ):
                value = revision if by == "revision" else b"%d" % balance
                txn.when(self._account(account), by, "=", value)
        for account, balance in _after(argument):
            txn.then.put(self._account(account), b"%d" % balance)
        line = b"%d %d %d" % (*argument["accounts"], argument["amount"])
        txn.then.put(self.stage.real_key(LEDGER + argument["id"]), line)
        return txn

    def _shown_ledger(self, listing: Listing | None) -> list[Any] | None:
        """The revision, and of each line its id, the revision that wrote it, and how often."""
        if listing is None:
            return None
        cut = len(self.stage.real_key(LEDGER))
        lines = [[line.key[cut:].decode(), line.revision, line.version] for line in listing.entries]
        return [listing.revision, lines]

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        opening = next((op for op in operations if op.kind == "open" and op.ok), None)
        if opening is None:
            return [Anomaly(BANK, "the accounts were never opened")]
        looks = [op for op in operations if op.kind in ("read", "list") and op.ok and op.result]
        transfers = [op for op in operations if op.kind == "transfer"]
        finals = [op for op in operations if op.kind == "final" and op.ok and op.result]
        found = list(_sums(looks, sum(opening.argument)))
        ledger = {line: Line(*rest) for final in finals for line, *rest in final.result[1]}
        if finals:
            found += [*_ledgers(finals, ledger), *_transfers(transfers, ledger)]
            book = _Book(opening, transfers, ledger)
            # Beyond what the ledger was asked at, a transfer of unknown outcome may have been done.
            until = max(final.result[0] for final in finals)
            known = [look for look in looks if look.result[0] <= until]
            found += [*book.anomalies, *_looks(known, book), *_losers(transfers, book)]
        return [*found, *_order_in_time([*looks, *transfers, *finals], ledger)]


class Listing(NamedTuple):
    """All pages; revision: that of the first."""

    revision: int
    entries: list[Entry]


async def _listing(
    api: RaftcacheClient, prefix: bytes, page_keys: int, level: Consistency = "linearizable"
) -> Listing | None:
    """None if a later page asked a node that does not know the revision of the first any more."""
    page = await api.page(prefix=prefix, limit=page_keys, consistency=level)
    listing = Listing(page.revision, list(page.entries))
    while page.after is not None:
        try:
            page = await api.page(prefix=prefix, limit=page_keys, after=page.after)
        except Compacted:
            return None
        listing.entries.extend(page.entries)
    return listing


def _after(argument: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Account and balance, as the transfer writes them."""
    (source, target), (had, got) = argument["accounts"], argument["saw"]
    return [(source, had[0] - argument["amount"]), (target, got[0] + argument["amount"])]


def _accounts(entries: Iterable[Entry | None]) -> list[Account]:
    return [[int(entry.value), entry.revision] for entry in entries if entry is not None]


def _shown_results(done: TxnDone) -> list[Any]:
    return [done.revision, _accounts(result.entry for result in done.results)]


def _shown_accounts(listing: Listing | None) -> list[Any] | None:
    return None if listing is None else [listing.revision, _accounts(listing.entries)]


# --- the verdict --------------------------------------------------------------------------------


class Line(NamedTuple):
    """Of the ledger. version: how often it was written."""

    revision: int
    version: int


class _Book:
    """What the accounts were from each revision on: the transfers of the ledger, played again."""

    def __init__(
        self, opening: Operation, transfers: Sequence[Operation], ledger: Mapping[str, Line]
    ) -> None:
        self.anomalies: list[Anomaly] = []
        now = [[balance, opening.result] for balance in opening.argument]
        self._revisions, self._states = [opening.result], [now]
        done = [op for op in transfers if op.argument["id"] in ledger]
        for op in sorted(done, key=lambda op: ledger[op.argument["id"]]):
            revision = ledger[op.argument["id"]].revision
            if not _compares_hold(op, now):
                sentence = f"a transfer was done at {revision}, where the accounts were {now}"
                self.anomalies.append(Anomaly(op.key, sentence, (op,)))
            now = list(now)
            for account, balance in _after(op.argument):
                now[account] = [balance, revision]
            self._revisions.append(revision)
            self._states.append(now)

    def at(self, revision: int) -> list[Account]:
        """Nothing before they were opened."""
        after = bisect_right(self._revisions, revision)
        return self._states[after - 1] if after else []


def _compares_hold(transfer: Operation, accounts: Sequence[Account]) -> bool:
    """Whether these accounts are what it demanded."""
    argument = transfer.argument
    which = 1 if argument["by"] == "revision" else 0
    pairs = zip(argument["accounts"], argument["saw"], strict=True)
    return bool(accounts) and all(saw[which] == accounts[at][which] for at, saw in pairs)


def _sums(looks: Sequence[Operation], total: int) -> Iterator[Anomaly]:
    for look in looks:
        balances = [balance for balance, _ in look.result[1]]
        if sum(balances) != total:
            yield Anomaly(look.key, f"{sum(balances)} is there in all, and not {total}", (look,))
        if min(balances, default=0) < 0:
            yield Anomaly(look.key, "an account is negative", (look,))


def _ledgers(finals: Sequence[Operation], ledger: Mapping[str, Line]) -> Iterator[Anomaly]:
    """All nodes have the same lines, up to the revision that they were asked at."""
    for final in finals:
        revision, lines = final.result
        own = {line: Line(*rest) for line, *rest in lines}
        due = {line: at for line, at in ledger.items() if at.revision <= revision}
        if own != due:
            yield Anomaly(final.key, "nodes do not agree on the ledger", (final,))


def _transfers(transfers: Sequence[Operation], ledger: Mapping[str, Line]) -> Iterator[Anomaly]:
    """Each that was acknowledged was done, where its answer said; no refused one; none twice."""
    left = dict(ledger)
    for op in transfers:
        done = op.ok and op.result[0]
        line = left.pop(op.argument["id"], None)
        if line is None:
            if done:
                yield Anomaly(op.key, "a transfer was acknowledged, and is lost", (op,))
        elif line.version > 1:
            yield Anomaly(op.key, f"a transfer was done {line.version} times", (op,))
        elif op.outcome is Outcome.FAIL:
            yield Anomaly(op.key, "a transfer was refused, and yet done", (op,))
        elif op.ok and not done:
            yield Anomaly(op.key, "a transfer was told that it came too late, and yet done", (op,))
        elif done and op.result[1] != line.revision:
            sentence = f"a transfer was done at {line.revision}, and not where its answer said"
            yield Anomaly(op.key, sentence, (op,))
    for line_id in left:
        yield Anomaly(BANK, f"{line_id!r} is in the ledger, and nobody asked for it")


def _looks(looks: Sequence[Operation], book: _Book) -> Iterator[Anomaly]:
    for look in looks:
        revision, accounts = look.result
        if accounts != book.at(revision):
            sentence = f"at {revision} the accounts were {book.at(revision)}, and not what it saw"
            yield Anomaly(look.key, sentence, (look,))


def _losers(transfers: Sequence[Operation], book: _Book) -> Iterator[Anomaly]:
    """Who was told that the accounts had changed: they had."""
    for op in transfers:
        if op.ok and not op.result[0] and _compares_hold(op, book.at(op.result[1])):
            yield Anomaly(op.key, "a transfer was told that it came too late, and had not", (op,))


def _order_in_time(
    operations: Sequence[Operation], ledger: Mapping[str, Line]
) -> Iterator[Anomaly]:
    """Revisions are in the order of real time: nobody sees less than what was known before it
    began, and a transfer comes after all of that."""
    moments: list[tuple[int, int, int, bool, Operation]] = []
    for op in operations:
        revision, writes = _revision(op, ledger)
        if revision is None:
            continue
        moments.append((op.invoked_ns, 0, revision, writes, op))
        if op.ok:
            moments.append((op.completed_ns or 0, 1, revision, writes, op))
    latest: tuple[int, Operation] | None = None
    for _, is_end, revision, writes, op in sorted(moments, key=lambda moment: moment[:2]):
        if is_end:
            if latest is None or revision > latest[0]:
                latest = (revision, op)
        elif latest is not None and revision < latest[0] + writes:
            sentence = f"{op.kind} was at {revision}; before it began {latest[0]} was known"
            yield Anomaly(op.key, sentence, (latest[1], op))


def _revision(op: Operation, ledger: Mapping[str, Line]) -> tuple[int | None, bool]:
    """Where it is in the one order, if that is known, and whether it wrote there."""
    if op.kind != "transfer":
        return op.result[0], False
    if op.ok:
        return op.result[1], op.result[0]
    line = ledger.get(op.argument["id"])
    return (None, False) if line is None else (line.revision, True)
