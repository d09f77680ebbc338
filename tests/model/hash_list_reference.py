"""Hashes and lists as plain Python has them: dict and list, the reference for their rows."""

from __future__ import annotations

from tests.model.plain_python import Args, Reference, Wrong

NOTHING = object()
"""The null array."""


class HashListReference(Reference["bytes | dict[bytes, bytes] | list[bytes]"]):
    """Hashes and lists."""

    def _set(self, args: Args) -> str:
        self.keys[args[0]] = self._fit(args[1])
        return "OK"

    def _del(self, args: Args) -> int:
        return int(self.keys.pop(args[0], None) is not None)

    # Hashes.

    def _hset(self, args: Args) -> int:
        held, count = self._held(args[0], dict), 0
        for field, value in zip(args[1::2], args[2::2], strict=True):
            count += field not in held
            held[field] = self._fit(value)
        return count

    def _hsetnx(self, args: Args) -> int:
        return 0 if args[1] in self._held(args[0], dict) else self._hset(args)

    def _hincrby(self, args: Args) -> int:
        held = self._held(args[0], dict)
        total = int(held.get(args[1], b"0")) + int(args[2])
        held[args[1]] = b"%d" % total
        return total

    def _hdel(self, args: Args) -> int:
        held = self._held(args[0], dict)
        return sum([held.pop(field, None) is not None for field in args[1:]])

    def _hmget(self, args: Args) -> list[bytes | None]:
        held = self._held(args[0], dict)
        return [held.get(field) for field in args[1:]]

    # Lists.

    def _rpush(self, args: Args) -> int:
        held = self._held(args[0], list)
        held.extend(map(self._fit, args[1:]))
        return len(held)

    def _lpush(self, args: Args) -> int:
        held = self._held(args[0], list)
        held[:0] = list(map(self._fit, args[1:]))[::-1]
        return len(held)

    def _lpop(self, args: Args) -> object:
        held, count = self._held(args[0], list), int(args[1])
        found = held[:count]
        del held[:count]
        return found if found or held else NOTHING

    def _rpop(self, args: Args) -> object:
        held, count = self._held(args[0], list), int(args[1])
        was_there, found = bool(held), [held.pop() for _ in range(min(count, len(held)))]
        return found if was_there else NOTHING

    def _lrange(self, args: Args) -> list[bytes]:
        return [each for each, stays in self._cut(args) if stays]

    def _ltrim(self, args: Args) -> str:
        kept = self._lrange(args)
        self._held(args[0], list)[:] = kept
        return "OK"

    def _cut(self, args: Args) -> list[tuple[bytes, bool]]:
        """Each element, and whether it is between two indexes."""
        held = self._held(args[0], list)
        first, last = (int(end) + len(held) if int(end) < 0 else int(end) for end in args[1:])
        return [(each, first <= place <= last) for place, each in enumerate(held)]

    def _lset(self, args: Args) -> str:
        held, index = self._held(args[0], list), int(args[1])
        if not -len(held) <= index < len(held):
            raise Wrong
        held[index] = self._fit(args[2])
        return "OK"

    def _linsert(self, args: Args) -> int:
        held = self._held(args[0], list)
        if not held:
            return 0
        if args[2] not in held:
            return -1
        held.insert(held.index(args[2]) + (args[1] == b"AFTER"), self._fit(args[3]))
        return len(held)

    def _lrem(self, args: Args) -> int:
        held, count = self._held(args[0], list), int(args[1])
        places = [place for place, each in enumerate(held) if each == args[2]]
        gone = places if count == 0 else places[:count] if count > 0 else places[count:]
        for place in reversed(gone):
            del held[place]
        return len(gone)

    def _lpos(self, args: Args) -> list[int]:
        """With RANK and COUNT 0."""
        held, rank = self._held(args[0], list), int(args[3])
        places = [place for place, each in enumerate(held) if each == args[1]]
        return places[rank - 1 :] if rank > 0 else places[::-1][-rank - 1 :]

    def _lmove(self, args: Args) -> bytes | None:
        source = self._held(args[0], list)
        if not source:
            return None
        target = self._held(args[1], list)
        value: bytes = source.pop(0 if args[2] == b"LEFT" else -1)
        target.insert(0 if args[3] == b"LEFT" else len(target), value)
        return value
