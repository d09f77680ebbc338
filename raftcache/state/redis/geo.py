"""Places: sorted sets whose scores say where on the earth each member is (see geohash.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from raftcache.command.values import NIL_ARRAY, Digits, Value
from raftcache.state.redis import geo_search
from raftcache.state.redis.geo_search import PLACE_COST, Found, Shape, distance_m, trigonometry_of
from raftcache.state.redis.geohash import (
    LATITUDE_MAX,
    LONGITUDE_MAX,
    Place,
    place_of,
    score_of,
    signed,
    text_of,
)
from raftcache.state.redis.parsing import SYNTAX, Refuse, double, integer
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.zset_ranges import store_pairs
from raftcache.state.redis.zset_rows import SortedSet
from raftcache.state.redis.zsets import zadd

_UNITS_M: Final = {b"M": 1.0, b"KM": 1000.0, b"FT": 0.3048, b"MI": 1609.34}
_NO_MEMBER: Final = "ERR could not decode requested zset member"


# Reading arguments.


def _place(longitude: bytes, latitude: bytes) -> Place:
    place = Place(double(longitude), double(latitude))
    if abs(place.longitude) > LONGITUDE_MAX or abs(place.latitude) > LATITUDE_MAX:
        raise Refuse(f"ERR invalid longitude,latitude pair {place[0]:f},{place[1]:f}")
    return place


def _unit_m(text: bytes) -> float:
    unit_m = _UNITS_M.get(text.upper())
    if unit_m is None:
        raise Refuse("ERR unsupported unit provided. please use M, KM, FT, MI")
    return unit_m


def _circle(shape: Shape, radius: bytes, unit: bytes) -> None:
    length = double(radius, "ERR need numeric radius")
    if length < 0:
        raise Refuse("ERR radius cannot be negative")
    shape.is_box, shape.unit_m = False, _unit_m(unit)
    shape.width = shape.height = length


def _box(shape: Shape, width: bytes, height: bytes, unit: bytes) -> None:
    lengths = double(width, "ERR need numeric width"), double(height, "ERR need numeric height")
    if min(lengths) < 0:
        raise Refuse("ERR height or width cannot be negative")
    shape.is_box, shape.unit_m = True, _unit_m(unit)
    shape.width, shape.height = lengths


class _Asked(Struct):
    """What a search asks for, apart from the key.

    stores: the key that what is found is to be stored under. count: 0 for all.
    """

    shape: Shape = field(default_factory=Shape)
    stores: bytes | None = None
    stores_distance: bool = False
    tells: set[bytes] = field(default_factory=set)
    count: int = 0
    is_any: bool = False
    order: bytes = b""
    has_middle: bytes = b""
    has_shape: bytes = b""


_WITHDIST, _WITHHASH, _WITHCOORD = b"WITHDIST", b"WITHHASH", b"WITHCOORD"
_TOLD: Final = (_WITHDIST, _WITHHASH, _WITHCOORD)

_SIZES: Final = {b"FROMMEMBER": 1, b"FROMLONLAT": 2, b"BYRADIUS": 2, b"BYBOX": 3}
"""Arguments of each."""

_MIDDLES: Final = (b"FROMMEMBER", b"FROMLONLAT")


def _read(
    asked: _Asked, args: tuple[bytes, ...], found: SortedSet, *, named: bool, stores: bool
) -> None:
    """Options. named: the shape is among them; stores: STORE and its like may be."""
    at = 0
    while at < len(args):
        option, rest = args[at].upper(), args[at + 1 :]
        at += 1
        if option in _TOLD:
            asked.tells.add(option)
        elif option == b"ANY":
            asked.is_any = True
        elif option in (b"ASC", b"DESC"):
            asked.order = option
        elif option == b"COUNT" and rest:
            asked.count = integer(rest[0])
            if asked.count <= 0:
                raise Refuse("ERR COUNT must be > 0")
            at += 1
        elif stores and named and option == b"STOREDIST":
            asked.stores_distance = True
        elif stores and not named and option in (b"STORE", b"STOREDIST") and rest:
            asked.stores, asked.stores_distance = rest[0], option == b"STOREDIST"
            at += 1
        elif named and option in _SIZES and len(rest) >= _SIZES[option]:
            _read_shape(asked, option, rest, found)
            at += _SIZES[option]
        else:
            raise Refuse(SYNTAX)


def _read_shape(asked: _Asked, option: bytes, rest: tuple[bytes, ...], found: SortedSet) -> None:
    before = asked.has_middle if option in _MIDDLES else asked.has_shape
    if before not in (b"", option):
        raise Refuse(SYNTAX)
    match option:
        case b"FROMMEMBER":
            asked.has_middle = option
            if found.exists:
                asked.shape.middle = _middle(found, rest[0])
        case b"FROMLONLAT":
            asked.has_middle, asked.shape.middle = option, _place(rest[0], rest[1])
        case b"BYRADIUS":
            asked.has_shape = option
            _circle(asked.shape, rest[0], rest[1])
        case _:
            asked.has_shape = option
            _box(asked.shape, rest[0], rest[1], rest[2])


def _middle(found: SortedSet, member: bytes) -> Place:
    score = found.score(member)
    if score is None:
        raise Refuse(_NO_MEMBER)
    return place_of(score)


# Searching.


def _answer(found: SortedSet, asked: _Asked, name: str, *, named: bool) -> Value:
    """What is left to be checked, and then the search."""
    if asked.stores is not None and asked.tells:
        who = "GEOSEARCHSTORE" if named else "STORE option in GEORADIUS"
        raise Refuse(f"ERR {who} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
    if named and not asked.has_middle:
        raise Refuse(f"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}")
    if named and not asked.has_shape:
        raise Refuse(f"ERR exactly one of BYRADIUS and BYBOX can be specified for {name}")
    if asked.is_any and not asked.count:
        raise Refuse("ERR the ANY argument requires COUNT argument")
    points: list[Found] = []
    if found.exists:
        points = geo_search.search(found, asked.shape, asked.count if asked.is_any else 0)
    order = asked.order or (b"ASC" if asked.count and not asked.is_any else b"")
    if order:
        sign = 1 if order == b"ASC" else -1
        points.sort(key=lambda point: sign * point.distance_m)
    if asked.count:
        del points[asked.count :]
    unit_m = asked.shape.unit_m
    if asked.stores is None:
        return [_told(point, asked.tells, unit_m) for point in points]
    pairs = [
        (point.member, point.distance_m / unit_m if asked.stores_distance else point.score)
        for point in points
    ]
    event = b"geosearchstore" if named else b"georadiusstore"
    return store_pairs(found.store, asked.stores, pairs, event)


def _told(point: Found, tells: set[bytes], unit_m: float) -> Value:
    if not tells:
        return point.member
    told: list[Value] = [point.member]
    if _WITHDIST in tells:
        told.append(_distance_text(point.distance_m / unit_m))
    if _WITHHASH in tells:
        told.append(signed(point.score))
    if _WITHCOORD in tells:
        told.append(_coordinates(point.place))
    return told


def _distance_text(distance: float) -> bytes:
    return b"%d.%04d" % divmod(round(distance * 10000.0), 10000)


def _coordinates(place: Place) -> Value:
    return [Digits(_degrees(place.longitude)), Digits(_degrees(place.latitude))]


def _degrees(number: float) -> bytes:
    text = (b"%.17f" % number).rstrip(b"0").rstrip(b".")
    return b"0" if text == b"-0" else text


def _geosearch(store: Store, args: tuple[bytes, ...]) -> Value:
    asked, found = _Asked(), store.collection(SortedSet, args[0])
    _read(asked, args[1:], found, named=True, stores=False)
    return _answer(found, asked, "GEOSEARCH", named=True)


def _geosearchstore(store: Store, args: tuple[bytes, ...]) -> Value:
    asked, found = _Asked(stores=args[0]), store.collection(SortedSet, args[1])
    _read(asked, args[2:], found, named=True, stores=True)
    return _answer(found, asked, "GEOSEARCHSTORE", named=True)


def _radius(store: Store, args: tuple[bytes, ...], *, stores: bool) -> Value:
    """Around coordinates."""
    asked, found = _Asked(), store.collection(SortedSet, args[0])
    asked.shape.middle = _place(args[1], args[2])
    _circle(asked.shape, args[3], args[4])
    _read(asked, args[5:], found, named=False, stores=stores)
    return _answer(found, asked, "georadius", named=False)


def _radius_by_member(store: Store, args: tuple[bytes, ...], *, stores: bool) -> Value:
    asked, found = _Asked(), store.collection(SortedSet, args[0])
    if found.exists:
        asked.shape.middle = _middle(found, args[1])
        _circle(asked.shape, args[2], args[3])
    _read(asked, args[4:], found, named=False, stores=stores)
    return _answer(found, asked, "georadiusbymember", named=False)


def _either(search: Callable[..., Value], *, stores: bool) -> Handler:
    return lambda store, args: search(store, args, stores=stores)


# Adding, and asking of members.


def _geoadd(store: Store, args: tuple[bytes, ...]) -> Value:
    at = 1
    while at < len(args) and args[at].upper() in (b"NX", b"XX", b"CH"):
        at += 1
    options = {option.upper() for option in args[1:at]}
    if (len(args) - at) % 3 or {b"NX", b"XX"} <= options:
        raise Refuse(SYNTAX)
    pairs: list[bytes] = []
    for each in range(at, len(args), 3):
        pairs += (b"%d" % score_of(_place(args[each], args[each + 1])), args[each + 2])
    return zadd(store, (*args[:at], *pairs))


def _scores(store: Store, args: tuple[bytes, ...]) -> list[float | None]:
    """Of members, whose places are wanted."""
    found = store.collection(SortedSet, args[0])
    store.count_elements(PLACE_COST * (len(args) - 1))
    return [found.score(member) for member in args[1:]]


def _geopos(store: Store, args: tuple[bytes, ...]) -> Value:
    scores = _scores(store, args)
    return [NIL_ARRAY if score is None else _coordinates(place_of(score)) for score in scores]


def _geohash(store: Store, args: tuple[bytes, ...]) -> Value:
    scores = _scores(store, args)
    return [None if score is None else text_of(place_of(score)) for score in scores]


def _geodist(store: Store, args: tuple[bytes, ...]) -> Value:
    unit_m = _unit_m(args[3]) if len(args) == 4 else 1.0
    if len(args) > 4:
        raise Refuse(SYNTAX)
    found = store.collection(SortedSet, args[0])
    one, other = found.score(args[1]), found.score(args[2])
    if one is None or other is None:
        return None
    distance = distance_m(trigonometry_of(store), place_of(one), place_of(other))
    return _distance_text(distance / unit_m)


CALLS: Final[dict[bytes, Handler]] = {
    b"GEOADD": _geoadd,
    b"GEODIST": _geodist,
    b"GEOHASH": _geohash,
    b"GEOPOS": _geopos,
    b"GEORADIUS": _either(_radius, stores=True),
    b"GEORADIUSBYMEMBER": _either(_radius_by_member, stores=True),
    b"GEORADIUSBYMEMBER_RO": _either(_radius_by_member, stores=False),
    b"GEORADIUS_RO": _either(_radius, stores=False),
    b"GEOSEARCH": _geosearch,
    b"GEOSEARCHSTORE": _geosearchstore,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
