"""Consumer groups as plain Python has them: an entry, whose it is, and how often it was given."""

from __future__ import annotations

from raftcache.command.values import NIL_ARRAY, Entries
from tests.model.plain_python import Args, Wrong
from tests.model.stream_reference import ENDS, Id, Plain, PlainGroup, StreamReference, read, shown


def bound(text: bytes) -> Id:
    found = ENDS.get(text)
    return read(text) if found is None else found


class GroupReference(StreamReference):
    """Streams with groups. Nobody gives it the time: nothing is idle, and nobody asks for that."""

    def _group(self, key: bytes, name: bytes) -> PlainGroup:
        group = self._stream(key).groups.get(name)
        if group is None:
            raise Wrong
        return group

    def _xgroup(self, args: Args) -> object:
        what, key, name, *more = args
        held = self._stream(key)
        if key not in self.keys:
            if more[-1:] != [b"MKSTREAM"]:
                raise Wrong
            self.keys[key] = held
        group = held.groups.get(name)
        if what == b"CREATE":
            if group is not None:
                raise Wrong
            held.groups[name] = PlainGroup(held.last if more[0] == b"$" else read(more[0]))
            return "OK"
        if what == b"DESTROY":
            return int(held.groups.pop(name, None) is not None)
        group = self._group(key, name)
        if what == b"SETID":
            group.last = read(more[0])
            return "OK"
        if what == b"CREATECONSUMER":
            was_there = more[0] in group.consumers
            group.consumers.add(more[0])
            return int(not was_there)
        gone = [each for each, (owner, _) in group.pending.items() if owner == more[0]]
        for each in gone:
            del group.pending[each]
        group.consumers.discard(more[0])
        return len(gone)

    def _xreadgroup(self, args: Args) -> object:
        """GROUP name consumer COUNT count [NOACK] STREAMS key id"""
        _, name, consumer, _, count, *_, key, text = args
        held, group = self._stream(key), self._group(key, name)
        if text == b">":
            new = sorted(each for each in held.entries if each > group.last)[: int(count)]
            if not new:
                return NIL_ARRAY
            group.last = new[-1]
            for each in new if b"NOACK" not in args else ():
                group.pending[each] = consumer, 1
            told = [[shown(each), held.entries[each]] for each in new]
        else:
            told = self._again(held, group, consumer, read(text), int(count))
        group.consumers.add(consumer)
        return Entries([(key, told)])

    def _again(
        self, held: Plain, group: PlainGroup, consumer: bytes, behind: Id, count: int
    ) -> list[list[object]]:
        owned = sorted(each for each, (owner, _) in group.pending.items() if owner == consumer)
        told: list[list[object]] = []
        for each in [each for each in owned if each > behind][:count]:
            fields = held.entries.get(each)
            told.append([shown(each), NIL_ARRAY if fields is None else fields])
            group.pending[each] = consumer, group.pending[each][1] + (fields is not None)
        return told

    def _xack(self, args: Args) -> int:
        group = self._stream(args[0]).groups.get(args[1], PlainGroup((0, 0)))
        return sum(group.pending.pop(read(text), None) is not None for text in args[2:])

    def _xpending(self, args: Args) -> object:
        group = self._group(args[0], args[1])
        owners = [owner for owner, _ in group.pending.values()]
        if not owners:
            return [0, None, None, NIL_ARRAY]
        counts = [[each, b"%d" % owners.count(each)] for each in sorted(set(owners))]
        ends = [shown(end(group.pending)) for end in (min, max)]
        return [len(owners), *ends, counts]

    def _xclaim(self, args: Args) -> list[object]:
        """key name consumer 0 id [id] option"""
        key, name, consumer, _, *ids, option = args
        held, group = self._stream(key), self._group(key, name)
        claimed: list[object] = []
        for each in map(read, ids):
            if each not in held.entries:
                group.pending.pop(each, None)
            elif each in group.pending or option == b"FORCE":
                _, count = group.pending.get(each, (consumer, 1))
                claimed.append(self._own(held, group, consumer, each, count, option))
        return claimed

    def _own(
        self,
        held: Plain,
        group: PlainGroup,
        consumer: bytes,
        each: Id,
        count: int,
        option: bytes,
    ) -> object:
        is_told = option != b"JUSTID"
        group.pending[each] = consumer, count + is_told
        group.consumers.add(consumer)
        return [shown(each), held.entries[each]] if is_told else shown(each)

    def _xautoclaim(self, args: Args) -> list[object]:
        """key name consumer 0 start COUNT count [JUSTID]"""
        key, name, consumer, _, start, _, count, *option = args
        held, group = self._stream(key), self._group(key, name)
        left = sorted(each for each in group.pending if each >= bound(start))
        claimed, deleted = list[object](), list[object]()
        while left and len(claimed) + len(deleted) < int(count):
            each = left.pop(0)
            if each not in held.entries:
                del group.pending[each]
                deleted.append(shown(each))
                continue
            given = group.pending[each][1]
            claimed.append(self._own(held, group, consumer, each, given, b"".join(option)))
        return [shown(left[0] if left else (0, 0)), claimed, deleted]
