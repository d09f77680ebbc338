"""`txn`: a transaction from a file in JSON, or typed line by line."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, TypeVar, get_args

import click
import msgspec

from raftcache.cli import exits
from raftcache.cli.options import client_options, open_client
from raftcache.client import Branch, Txn
from raftcache.client.txn import Relation, Target
from raftcache.config.text import parse_duration_s
from raftcache.errors import BadRequest

P = TypeVar("P")


def _ms(word: bytes) -> int:
    return round(parse_duration_s(word.decode()) * 1000)


OPERATIONS: Final[dict[str, tuple[str, Callable[..., Branch]]]] = {
    "put": (
        "KEY VALUE [TTL]",
        lambda to, key, value, ttl=None: to.put(
            key, value, ttl_ms=None if ttl is None else _ms(ttl)
        ),
    ),
    "get": ("KEY", Branch.get),
    "delete": ("KEY", Branch.delete),
    "incr": ("KEY [BY]", lambda to, key, by=b"1": to.incr(key, int(by))),
    "append": ("KEY VALUE", Branch.append),
    "expire": ("KEY TTL", lambda to, key, ttl: to.expire(key, _ms(ttl))),
    "persist": ("KEY", Branch.persist),
    "touch": ("KEY", Branch.touch),
    "range": ("PREFIX", lambda to, prefix: to.range(prefix=prefix)),
    "count": ("PREFIX", lambda to, prefix: to.count(prefix=prefix)),
    "delete-range": ("PREFIX", lambda to, prefix: to.delete_range(prefix=prefix)),
}


def _usages() -> str:
    return "\n".join(f"  {name} {usage}" for name, (usage, _) in OPERATIONS.items())


@click.command(
    epilog=f"""
With --interactive, three parts, each ended by an empty line; the end of the input ends them all.

\b
compares: TARGET KEY OP VALUE, with TARGET one of {", ".join(get_args(Target))},
and OP one of {" ".join(get_args(Relation))}
  value stock != 0
  exists order/17 = false

\b
operations if all hold, and then those if not:
{_usages()}

Words may be quoted; \\xff in one is a byte, and \\\\ a backslash.
"""
)
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--interactive", "-i", is_flag=True, help="Read lines from stdin, without JSON.")
@click.option("--idempotency-key", help="Under which the first answer is remembered.")
@client_options
def txn(
    file: BinaryIO | None,
    interactive: bool,
    idempotency_key: str | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Do the transaction that FILE (- for stdin) has in JSON, and print its answer as JSON.

    {"compare": [...], "success": [...], "failure": [...]}: see docs/API.md. Exits with 1 when the
    compares did not hold, and the failure branch was done.
    """
    if (file is None) != interactive:
        raise click.UsageError("give FILE, or --interactive")
    body = msgspec.json.encode(_typed().body()) if file is None else file.read()
    with open_client(endpoints, timeout_s) as client:
        answer = client.txn_json(body, idempotency_key=idempotency_key)
    click.echo(answer.text)
    if not answer.succeeded:
        raise click.exceptions.Exit(exits.NOT_SO)


def _typed() -> Txn:
    """What is typed: on a terminal with prompts, and with a second try for a wrong line."""
    made = Txn()
    lines = enumerate(sys.stdin, 1)
    _part(lines, "compares, then an empty line:", lambda words: _compare(made, words))
    _part(lines, "if all of them hold:", lambda words: _operation(made.then, words))
    _part(lines, "if not:", lambda words: _operation(made.otherwise, words))
    return made


def _part(
    lines: Iterator[tuple[int, str]], prompt: str, take: Callable[[list[bytes]], object]
) -> None:
    asks = sys.stdin.isatty()
    if asks:
        click.echo(prompt, err=True)
    for number, line in lines:
        if not line.strip():
            return
        try:
            take([_bytes(word) for word in _words(line)])
        except (ValueError, BadRequest) as e:
            if not asks:
                raise BadRequest(f"line {number}: {e}") from None
            click.echo(f"{e}; once more:", err=True)


def _words(line: str) -> list[str]:
    """As a shell has them, but a backslash is kept, for _bytes."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    return list(lexer)


def _compare(made: Txn, words: list[bytes]) -> None:
    if len(words) != 4:
        raise ValueError("a compare is TARGET KEY OP VALUE")
    target = _one_of(get_args(Target), words[0])
    op = _one_of(get_args(Relation), words[2])
    made.when(words[1], target, op, _compared(target, words[3]))


def _compared(target: Target, word: bytes) -> bytes | int | bool:
    if target == "value":
        return word
    if target == "exists":
        return _one_of(("false", "true"), word) == "true"
    return int(word)


def _operation(branch: Branch, words: list[bytes]) -> None:
    name, *given = words
    usage, do = OPERATIONS.get(name.decode(errors="replace"), ("", None))
    wanted = usage.split()
    required = sum(not word.startswith("[") for word in wanted)
    if do is None or not required <= len(given) <= len(wanted):
        raise ValueError("an operation is one of:\n" + _usages())
    do(branch, *given)


def _one_of(choices: tuple[P, ...], word: bytes) -> P:
    """The choice that the word is."""
    for choice in choices:
        if str(choice).encode() == word:
            return choice
    raise ValueError(f"{word.decode(errors='replace')!r} is none of {', '.join(map(str, choices))}")


def _bytes(word: str) -> bytes:
    """With \\xff for a byte, and \\\\ for a backslash, as listings show them."""
    data = word.encode("utf-8", "surrogateescape")
    return re.sub(rb"\\(?:x([0-9a-fA-F]{2})|\\)", _unescaped, data)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode()) if found[1] else b"\\"
