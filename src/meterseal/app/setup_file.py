"""Beside the path: the one configuration file of a concentrator, TOML, and what it says as the concentrator's parameters.

It keeps nothing and starts nothing; what it gives is sealed by `edge.parameters`, after which the file may go.

    device_id = "f000000000000001"
    module_id = "4d53000000000001"
    headend = "headend.example:7688"
    [schedule]                       # for plain meters; see edge.schedule
    every_minutes = 15
    [alarms.water-generic]           # bits of the second status byte of such plain meters, as their maker documents them
    removed = 0x20                   # also: magnet, fault, reverse
    [[bus]]
    line = "serial:/dev/ttyUSB0:2400:E"
    sealed = ["1078330000000001"]    # meters with a module
    plain = ["2078330000000002"]
    models = { "2078330000000002" = "heat-generic" }
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from meterseal.edge.agent import Timing
from meterseal.edge.place import Place
from meterseal.edge.roster import is_of
from meterseal.edge.schedule import Schedule
from meterseal.edge.watching import AlarmBits
from meterseal.errors import LocalError
from meterseal.hostport import parted
from meterseal.wire.profile import models, no_model, profiles

DeviceId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
MOST_METERS, MOST_BUSES = 2_000, 64


class BusFile(Struct, kw_only=True, forbid_unknown_fields=True):
    """One bus: its line as `edge.place` names it, and its meters by device id."""

    line: str
    sealed: tuple[DeviceId, ...] = ()
    plain: tuple[DeviceId, ...] = ()
    models: dict[DeviceId, str] = field(default_factory=dict)


class SetupFile(Struct, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    device_id: Annotated[str, Meta(pattern=r"^f0[0-9a-f]{14}$")]
    module_id: DeviceId
    headend: Annotated[str, Meta(max_length=300)]
    """`HOST:PORT`; an IPv6 host in brackets."""
    schedule: Schedule = Schedule()
    timing: Timing = Timing()
    alarms: dict[str, AlarmBits] = field(default_factory=dict)
    bus: Annotated[tuple[BusFile, ...], Meta(min_length=1, max_length=MOST_BUSES)]


def read(path: Path) -> SetupFile:
    """The file, checked whole. LocalError `concentrator.config`, `concentrator.schedule`, `line.place`."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), SetupFile)
    except OSError as error:
        raise _wrong(path, f"it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise _wrong(path, "it is no text in UTF-8") from None
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise _wrong(path, str(error)) from None
    found.schedule.check()
    seen: set[str] = set()
    for bus in found.bus:
        Place(bus.line)
        for one in (*bus.sealed, *bus.plain):
            if one in seen:
                raise _wrong(path, f"meter {one} stands in it twice")
            seen.add(one)
            if models().find(bytes.fromhex(one)) is None and one not in bus.models:
                raise _wrong(path, f"no meter model is of meters like {one}; name one in `models`")
        for one, model in bus.models.items():
            if one not in bus.plain or not is_of(model, bytes.fromhex(one)):
                raise _wrong(
                    path,
                    f"`models` names {one}, {model}: no plain meter of that bus, or no model of such meters",
                )
    for model in found.alarms:
        if model not in profiles():
            raise _wrong(path, f"`alarms`: {no_model(model)}")
    if len(seen) > MOST_METERS:
        raise _wrong(path, f"it names {len(seen)} meters, and {MOST_METERS} are the most")
    if parted(found.headend) is None:
        raise _wrong(path, f"`headend` is {found.headend}, which is no address: give HOST:PORT")
    return found


def orders(found: SetupFile, directory: Path, tls: dict[str, str]) -> dict[str, Any]:
    """The same as the fields of `edge.parameters.ConcentratorConfig`; `tls` as its `TlsFiles`."""
    host, port = parted(found.headend) or ("", 0)
    return {
        "dir": str(directory),
        "device_id": found.device_id,
        "module_id": found.module_id,
        "headend_host": host,
        "headend_port": port,
        "risers": [
            {
                "line": bus.line,
                "meters": [{"device_id": one} for one in bus.sealed]
                + [{"device_id": one, "plain": True, "model": bus.models.get(one, "")} for one in bus.plain],
            }
            for bus in found.bus
        ],
        "tls": tls,
        "timing": msgspec.to_builtins(found.timing),
        "schedule": msgspec.to_builtins(found.schedule),
        "alarms": msgspec.to_builtins(found.alarms),
    }


def _wrong(path: Path, why: str) -> LocalError:
    return LocalError("concentrator.config", f"The setup file {path} is wrong: {why}. Correct it.")
