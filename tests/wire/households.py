"""Cases for the tests of the CJ/T 188 roles, drawn from the catalogue: a row, a model's habits, values that fit it."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from meterseal.wire.asked import Ask
from meterseal.wire.catalogue import BYTES, FIELDS, ROWS, Field, Identifier
from meterseal.wire.cjt188.habits import Habits
from meterseal.wire.profile import Profile, profiles
from meterseal.wire.values import Stated, Values

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties over whole models: a busy machine is no fault of theirs."""
WATER, HEAT, GAS = (bytes.fromhex(f"{kind}78330011223344") for kind in ("10", "25", "30"))
NOON = 1_780_000_000_000 // 1000 * 1000
READS = [row for row in ROWS if not row.writes and row.edition != "own"]
WRITES = [row for row in ROWS if row.writes]


def model(habits: Habits | None = None, *, high_first: bool = True, **changes: Any) -> Profile:
    """A model with these habits and nothing else of its own."""
    order = "high" if high_first else "low"
    return replace(
        profiles()["water-generic"], cjt188=habits or Habits(**changes), di_order=order, vectors=()
    )


def entry(row: Identifier) -> st.SearchStrategy[int]:
    """The identifier of a row, or any of its range."""
    return st.integers(row.di, row.last if row.last is not None else row.di)


def stated(field: Field) -> st.SearchStrategy[Stated]:
    """A value that fits a field."""
    digits = 2 * (4 if field.kind == "quantity" else field.size)
    match field.kind:
        case "clock" | "moment":
            return st.integers(0, 2_000_000_000).map(lambda seconds: seconds * 1000)
        case "status":
            return st.binary(min_size=2, max_size=2)
        case "count":
            return st.integers(0, 255)
        case "bytes":
            return st.binary(min_size=field.size or 1, max_size=field.size or 22)
        case "address":
            return st.integers(0, 10**14 - 1).map(lambda number: f"{number:014d}")
        case "action":
            return st.sampled_from(("open", "close"))
    if field.name in ("settlement_day", "reading_day", "start_day"):
        return st.integers(1, 31)
    return st.integers(0, 10**digits - 1)


NAMED = {
    "standard time": "clock",
    "valve action": "action",
    "new address": "new_address",
    "new key": "new_key",
}


@st.composite
def values_for(draw: st.DrawFn, names: tuple[str, ...], *, blanks: bool = False) -> dict[str, Stated]:
    """Values for these fields; numbers may be blank where `blanks` says so."""
    made: dict[str, Stated] = {}
    for name in names:
        field = FIELDS[name]
        choice = stated(field)
        if blanks and field.kind in ("quantity", "number", "clock"):
            choice = st.one_of(st.none(), choice)
        made[NAMED.get(name, name)] = draw(choice)
    return made


@st.composite
def writes(draw: st.DrawFn) -> tuple[bytes, Ask]:
    """A meter and a request to write it, of any row."""
    row = draw(st.sampled_from(WRITES))
    device_id = draw(st.sampled_from([WATER, HEAT, GAS]))
    ask = Ask(kind=row.kind, di=draw(entry(row)), ser=draw(st.integers(0, 255)))
    if row.down == BYTES:
        size = row.opaque
        return device_id, replace(
            ask, payload=draw(st.binary(min_size=size or 0, max_size=size or 44)), opaque=True
        )
    values = draw(values_for(row.down))
    clock, action = values.pop("clock", None), values.pop("action", None)
    assert clock is None or isinstance(clock, int)
    assert action is None or isinstance(action, str)
    if row.kind == "verification":
        action = "enter" if row.di == 0xA101 else "leave"
    return device_id, replace(ask, values=values, at=clock, action=action)


def registers(values: Values) -> dict[str, object]:
    """Values reduced to digits, so that what was given and what was read compare."""
    return {name: getattr(value, "register", value) for name, value in values.items()}
