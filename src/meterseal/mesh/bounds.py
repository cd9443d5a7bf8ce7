"""What no request may carry, whatever its method: numbers that no store and no message of ours can hold.

It knows no method and no field; shapes and meanings are for types and acts.

Msgpack carries unsigned integers up to 2^64 - 1; our stores and wire formats end at 2^63 - 1. Not a number and
infinities compare to nothing, so every later check of a range would let them through or fail by chance. The check
follows a type's own description, worked out once: what has no number costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from msgspec import Struct, inspect

LARGEST_INTEGER = (1 << 63) - 1
Check = Callable[[Any], bool]


@cache
def within(kind: type[Struct]) -> Check:
    """Whether every number in a value of this type can be held."""
    return _check(inspect.type_info(kind)) or (lambda value: True)


def _check(info: inspect.Type) -> Check | None:
    match info:
        case inspect.IntType():
            return _integer
        case inspect.FloatType():
            return math.isfinite
        case inspect.StructType():
            return _fields(info)
        case inspect.TupleType():
            checks = [_check(one) for one in info.item_types]
            return _each(_any_number) if any(checks) else None
        case inspect.CollectionType():
            if _numbers(info.item_type):
                return _integers
            item = _check(info.item_type)
            return _each(item) if item is not None else None
        case inspect.DictType():
            return _entries(_check(info.key_type), _check(info.value_type))
        case inspect.UnionType():
            return _any_number if any(_check(one) for one in info.types) else None
        case _:
            return None


def _integer(value: int) -> bool:
    return value <= LARGEST_INTEGER


def _numbers(info: inspect.Type) -> bool:
    """Whole numbers, some of them missing perhaps: what there are many of."""
    types = info.types if isinstance(info, inspect.UnionType) else (info,)
    return all(isinstance(one, inspect.IntType | inspect.NoneType) for one in types)


def _integers(values: Any) -> bool:
    return max(filter(None, values), default=0) <= LARGEST_INTEGER


def _fields(info: inspect.StructType) -> Check | None:
    checks = [(field.name, found) for field in info.fields if (found := _check(field.type)) is not None]
    return (lambda value: all(check(getattr(value, name)) for name, check in checks)) if checks else None


def _each(check: Check) -> Check:
    return lambda values: all(check(one) for one in values)


def _entries(keys: Check | None, values: Check | None) -> Check | None:
    if keys is None and values is None:
        return None
    key, one = keys or (lambda _: True), values or (lambda _: True)
    return lambda entries: all(key(name) and one(value) for name, value in entries.items())


def _any_number(value: Any) -> bool:
    """The same for a value whose type only it says."""
    if isinstance(value, Struct):
        return within(type(value))(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_any_number, value))
    if isinstance(value, dict):
        return all(map(_any_number, value)) and all(map(_any_number, value.values()))
    return True
