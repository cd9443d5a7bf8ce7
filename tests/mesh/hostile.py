"""Requests that no program of ours sends, drawn from a method's own request type: for every table of methods there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgspec
from msgspec import Struct, inspect

from meterseal.mesh.method import Failure, Methods, dispatch

DEEP = 600
HUGE = (1 << 63, (1 << 64) - 1, -(1 << 63))
LENGTHS = (0, 1, 7, 9, 16, 33, 64, 4097)


def plain(kind: type[Struct]) -> Any:
    """A request of this type in msgpack's own terms, each field as small as its type allows."""
    return _plain(inspect.type_info(kind))


def _plain(info: inspect.Type) -> Any:
    match info:
        case inspect.StructType():
            values = {field.encode_name: _plain(field.type) for field in info.fields}
            return list(values.values()) if info.array_like else values
        case inspect.UnionType():
            return _plain(info.types[0])
        case inspect.IntType():
            return 1
        case inspect.FloatType():
            return 1.0
        case inspect.BoolType():
            return False
        case inspect.BytesType():
            return bytes(8)
        case inspect.StrType():
            return "a"
        case inspect.LiteralType():
            return info.values[0]
        case inspect.EnumType():
            return get_args(info.cls)[0] if get_args(info.cls) else next(iter(info.cls)).value
        case inspect.TupleType():
            return [_plain(one) for one in info.item_types]
        case inspect.VarTupleType() | inspect.ListType() | inspect.SetType() | inspect.FrozenSetType():
            return [_plain(info.item_type)]
        case inspect.DictType():
            return {_plain(info.key_type): _plain(info.value_type)}
        case _:
            return None


def _nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


def hostile(value: Any) -> Iterator[Any]:
    """What stands in place of one value: worse ones of its own type, and a few that are none of it."""
    yield from (HUGE[0], None, math.nan, [], msgspec.Raw(_nested(DEEP)))
    match value:
        case bool():
            yield 2
        case int() | float():
            yield from (*HUGE[1:], -1, math.inf, (1 << 63) - 1)
        case bytes():
            yield from (bytes(length) for length in LENGTHS)
            yield b"\xff" * len(value)
        case str():
            yield from ("", "\x00", "x" * 70_000, "é" * 8)
        case list():
            yield from ([value] * 3, value * 2000)
        case dict():
            yield {}


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _places(one, (*way, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _places(one, (*way, index))


def _with(value: Any, way: tuple[Any, ...], other: Any) -> Any:
    if not way:
        return other
    key, *rest = way
    if isinstance(value, dict):
        return {**value, key: _with(value[key], tuple(rest), other)}
    return [_with(one, tuple(rest), other) if at == key else one for at, one in enumerate(value)]


def bodies(kind: type[Struct], good: Callable[[], Any] | None = None, first: int = 0) -> Iterator[bytes]:
    """Every hostile body for one request type: each place of a plain request taken by each hostile value.

    `good` makes the plain request anew for each body; by default it is `plain`. Of one that is a list, the places
    before `first` are left as they are.
    """
    make = good or (lambda: plain(kind))
    yield from (
        b"",
        b"\xc1",
        b"\xc0",
        _nested(DEEP),
        _nested(100_000),
        b"\x93\x01",
        msgspec.msgpack.encode(make()),
    )
    one = make()
    yield msgspec.msgpack.encode({**one, "more": 1} if isinstance(one, dict) else [*one, 1, 2, 3])
    yield msgspec.msgpack.encode(make()) + b"\x00"
    for way in _places(one):
        if way and isinstance(one, list) and way[0] < first:
            continue
        here: Any = one
        for step in way:
            here = here[step]
        for other in hostile(here):
            yield msgspec.msgpack.encode(_with(make(), way, other))


async def refused(methods: Methods, name: str, caller: str, body: bytes) -> str:
    """The code by which a body is refused; empty when it is answered."""
    answer = await dispatch(methods, caller, name, body)
    return answer.code if isinstance(answer, Failure) else ""
