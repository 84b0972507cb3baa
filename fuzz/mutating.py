"""Changes an input: by bytes, as libFuzzer does, or by whole values, so that what is nearly JSON stays nearly JSON.

Changed by bytes alone, nearly every input is refused at its first broken bracket, and only the refusing is tested.
"""

import re
from functools import cache
from pathlib import Path

import atheris

_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[-+.\w]+|[\[\]{},:=\n]')
_OPENING = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_VALUES = (
    *(
        b"null",
        b"true",
        b"false",
        b"0",
        b"-1",
        b"1.5",
        b"1e999",
        b"NaN",
        b"[]",
        b"{}",
        b"[{}]",
        b"[[]]",
    ),
    *(
        b"9" * 25,
        b"9" * 400,
        b'""',
        b'"1"',
        b'"\\ud83d"',
        b'"\\u0000"',
        b'"\xff"',
        b'"\xe2\x80\xa8"',
        b'{"":0}',
    ),
    *(
        b'"2024-05-01T04:34:56.000Z"',
        b'"Wed May 01 04:34:56 +0000 2024"',
        b'"9999-12-31T23:59:59-12:00"',
    ),
)


@cache
def _names() -> tuple[bytes, ...]:
    text = (Path(__file__).parent / "names.dict").read_bytes()
    return tuple(b'"%b"' % name for name in re.findall(rb'^"\\"(\w+)\\""$', text, re.MULTILINE))


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """The input changed once more, at most `max_size` bytes: by bytes or by values, half of the time each."""
    seed, by_bytes = divmod(seed, 2)
    tokens = [] if by_bytes else [found.span() for found in _TOKEN.finditer(data)]
    if not tokens:
        changed: bytes = atheris.Mutate(data, max_size)
        return changed
    seed, kind = divmod(seed, 6)
    begin, end = _value(data, tokens, seed % len(tokens))
    value = data[begin:end]
    match kind:
        case 0:
            new = _any(_VALUES, seed)
        case 1:
            new = _any(_names(), seed)
        case 2:
            other = _value(data, tokens, seed // len(tokens) % len(tokens))
            new = data[other[0] : other[1]]
        case 3:
            new = value + b"," + value
        case 4:
            new = b""
        case _:
            new = _any(_names(), seed) + b":" + _any(_VALUES, seed // 7) + b"," + value
    return (data[:begin] + new + data[end:])[:max_size]


def _any(of: tuple[bytes, ...], seed: int) -> bytes:
    return of[seed // 1009 % len(of)]


def _value(data: bytes, tokens: list[tuple[int, int]], place: int) -> tuple[int, int]:
    """Where the value ends that begins with this token: a bracket goes with what it encloses."""
    begin, end = tokens[place]
    depth = 0
    for at, behind in tokens[place:]:
        depth += _OPENING.get(data[at:behind], 0)
        if depth <= 0:
            return begin, max(end, behind)
    return begin, end
