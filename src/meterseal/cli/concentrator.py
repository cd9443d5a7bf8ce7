"""`meterseal concentrator …`: a gateway on real buses, from its module to a unit of systemd; and its enrolment.

It decides nothing: `app.concentrator` runs it, `app.setup_file` reads its file, the operator's desk enrols it.
"""

from __future__ import annotations

import asyncio
import json as json_module
import os
import secrets
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, device_id_of
from meterseal.cli.calls import ask
from meterseal.cli.passphrases import secret
from meterseal.errors import LocalError

_ENDS = {"certificate": ".crt", "key": ".key", "root": ".root.crt", "personalisation": ".personalisation"}
_KEPT = {"certificate": "tls.crt", "key": "tls.key", "root": "root.crt"}


def new(
    device_id: str,
    *,
    dir: Path,
    module_id: str = "",
    json: Json = False,
) -> int:
    """Make the concentrator's module, with a key that stays in it, and print what the operator enrols.

    Parameters
    ----------
    device_id
        Its device id: F0 and its serial, 16 hex digits.
    dir
        The concentrator's own directory; made when absent.
    module_id
        Id of its module, 16 hex digits; a fresh one when absent.
    """
    from meterseal.edge.making import make

    device = device_id_of(device_id)
    if device[0] != 0xF0:
        raise LocalError("use.device", "A concentrator's device id begins with F0 (LINK section 1).")
    module = device_id_of(module_id) if module_id else b"MS" + secrets.token_bytes(6)
    (made,) = make(dir, [(device, module, 1)])
    facts = {"device_id": device.hex(), "module_id": module.hex(), "module_point": made.point.hex()}
    show(json_module.dumps(facts), as_json=json, lines=_facts)
    return 0


def enrol(
    device_id: str,
    *,
    data: Data,
    module_id: str,
    module_point: str,
    to: Path,
    name: str = "",
    key_passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """Enrol a concentrator with the running system: its module, and a TLS identity of its own.

    Parameters
    ----------
    device_id, module_id, module_point
        As `meterseal concentrator new` printed them.
    to
        Directory for ID.crt, ID.key, ID.root.crt and ID.personalisation, which the concentrator is set up with.
    name
        What people call it.
    key_passphrase_file
        The password that the concentrator opens its TLS key with, mode 0600; typed when absent.
    """
    from meterseal.app import config, operator

    device = device_id_of(device_id)
    try:
        point = bytes.fromhex(module_point)
    except ValueError:
        point = b""
    if len(point) != 65:
        raise LocalError(
            "use.module", "The module's public point is 130 hex digits, as the concentrator showed it."
        )
    paths = {part: to / f"{device.hex()}{end}" for part, end in _ENDS.items()}
    there = next((path for path in paths.values() if path.exists()), None)
    if there is not None:
        raise LocalError("use.file", f"{there} is there already; choose another directory. Nothing was done.")
    request = operator.EnrolConcentrator(
        device_id=device,
        name=name or device.hex(),
        module_id=device_id_of(module_id),
        module_point=point,
        key_password=secret(key_passphrase_file, f"Password of the key of {device.hex()}: "),
    )
    made = ask(data, "enrol_concentrator", request, operator.ConcentratorIdentity)
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part, path in paths.items():
        config.replace_file(path, getattr(made, part))
    facts = {part: str(path) for part, path in paths.items()}
    show(json_module.dumps(facts), as_json=json, lines=_facts)
    return 0


def setup(
    file: Path,
    *,
    dir: Path,
    identity: Path | None = None,
    key_passphrase_file: Path | None = None,
    json: Json = False,
) -> int:
    """Give a concentrator its parameters, which it keeps sealed from then on; the file may go after that.

    Parameters
    ----------
    file
        TOML: device_id, module_id, headend = "HOST:PORT", [schedule], and for each [[bus]] its line
        (serial:/dev/ttyUSB0:2400:E or tcp:HOST:PORT) and its meters (sealed, plain, models). [alarms.MODEL] names the bits
        of the second status byte of plain CJ/T 188 meters (removed, magnet, fault, reverse). Other meters than in the file
        before end what `device command METER roster …` changed since.
    dir
        The concentrator's own directory.
    identity
        The directory that `meterseal concentrator enrol` wrote; needed the first time, and for a new TLS identity.
    key_passphrase_file
        The password of its TLS key, mode 0600; typed when absent. Asked for with --identity only.
    """
    from meterseal.app import setup_file
    from meterseal.edge.memories import Memories
    from meterseal.edge.parameters import Parameters

    found = setup_file.read(file)
    _module_of(dir)
    kept = {part: dir.absolute() / name for part, name in _KEPT.items()}
    password = ""
    if identity is not None:
        password = secret(key_passphrase_file, "Password of the TLS key: ").decode()
        _take_identity(identity, found.device_id, dir, kept)
    missing = next((path for path in kept.values() if not path.exists()), None)
    if missing is not None:
        raise LocalError("use.identity", f"{missing} is not there yet; give --identity the first time.")
    tls = {part: str(path) for part, path in kept.items()} | {"password": password}
    memories = Memories(dir)
    try:
        if memories.chip(bytes.fromhex(found.module_id)).state().device_id.hex() != found.device_id:
            raise LocalError(
                "concentrator.module",
                f"Module {found.module_id} in {dir} is not that of {found.device_id}, or was never personalised.",
            )
        Parameters(dir, memories).take(setup_file.orders(found, dir.absolute(), tls))
    finally:
        memories.close()
    meters = sum(len(bus.sealed) + len(bus.plain) for bus in found.bus)
    facts = {"dir": str(dir), "buses": len(found.bus), "meters": meters}
    line = f"{len(found.bus)} buses with {meters} meters. The parameters are sealed in {dir}; {file} may be deleted."
    show(json_module.dumps(facts), as_json=json, lines=lambda _: [line])
    return 0


def _take_identity(identity: Path, device_id: str, folder: Path, kept: dict[str, Path]) -> None:
    from meterseal.app.config import replace_file
    from meterseal.edge.making import personalise
    from meterseal.security.messages import Personalisation

    for part, path in kept.items():
        replace_file(path, (identity / f"{device_id}{_ENDS[part]}").read_bytes())
    papers = identity / f"{device_id}{_ENDS['personalisation']}"
    if papers.exists():
        try:
            personalise(folder, [msgspec.msgpack.decode(papers.read_bytes(), type=Personalisation)])
        except msgspec.DecodeError:
            raise LocalError("use.identity", f"{papers} is not what enrolment writes.") from None


def run(*, dir: Path, verbose: bool = False) -> int:
    """Run the concentrator of a directory until SIGTERM: on its buses, its line to the head-end, its maintenance port.

    Parameters
    ----------
    dir
        The concentrator's own directory, set up before.
    verbose
        Write more into the log.
    """
    from meterseal.app import child
    from meterseal.crypto import selftest

    _module_of(dir)
    child.harden()
    child.configure_logging("concentrator", verbose=verbose)
    selftest.require()
    asyncio.run(_run(dir))
    return 0


async def _run(folder: Path) -> None:
    from meterseal.app.concentrator import gateway_of, work
    from meterseal.app.unit import Notify
    from meterseal.edge.inquiry import Inquiry
    from meterseal.edge.maintenance import MaintenancePort
    from meterseal.edge.memories import Memories
    from meterseal.edge.parameters import Parameters

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    notify = Notify(os.environ.get("NOTIFY_SOCKET", ""))
    memories = Memories(folder)
    try:
        gateway = gateway_of(Parameters(folder, memories).take({"dir": str(folder)}), memories)
        port = MaintenancePort(folder, Inquiry(gateway).ask)
        await port.start()
        notify.say("READY=1")
        try:
            await work(gateway, stop, lambda _: notify.say("WATCHDOG=1"))
        finally:
            notify.say("STOPPING=1")
            await port.stop()
    finally:
        memories.close()


def status(*, dir: Path, meters: bool = False, json: Json = False) -> int:
    """Ask a running concentrator how it is.

    Parameters
    ----------
    dir
        The concentrator's own directory.
    meters
        List its meters too: on which bus, when each was heard, and unknown ones that a search found.
    """
    return _asked(dir, {"ask": "meters" if meters else "status"}, as_json=json)


def search(bus: int, *, dir: Path, json: Json = False) -> int:
    """Have a running concentrator search one of its buses for unknown meters, whenever nothing else is due there.

    Parameters
    ----------
    bus
        Which one; they count from 0, in the order of the setup file.
    dir
        The concentrator's own directory.
    """
    return _asked(dir, {"ask": "search", "bus": bus}, as_json=json)


def read(meter: str, what: str = "register", *, dir: Path, json: Json = False) -> int:
    """Have a running concentrator read one of its plain meters now. What it reads so is shown here and goes nowhere else.

    Parameters
    ----------
    meter
        Device id of the meter, 16 hex digits.
    what
        register; of a meter on DL/T 645 also demand, events or load; or an identifier in hex, as 901F or 00010000.
    dir
        The concentrator's own directory.
    """
    question = {"ask": "read", "device_id": device_id_of(meter).hex()}
    return _asked(dir, question if what == "register" else {**question, "what": what}, as_json=json)


def backfill(meter: str, *, dir: Path, days: int = 35, json: Json = False) -> int:
    """Have a running concentrator read back what one of its plain meters froze, whenever nothing else is due on its bus.

    After an outage it does so by itself. One that took another's place knows of no outage, and is told with this.

    Parameters
    ----------
    meter
        Device id of the meter, 16 hex digits.
    dir
        The concentrator's own directory.
    days
        How far back; its schedule's backfill_days are the most. What is older than the meter's place at the platform is
        held there as of an unknown device.
    """
    return _asked(
        dir, {"ask": "backfill", "device_id": device_id_of(meter).hex(), "days": days}, as_json=json
    )


def unit(*, dir: Path, user: str = "") -> int:
    """Print a hardened unit of systemd for the concentrator of a directory.

    Parameters
    ----------
    dir
        The concentrator's own directory, set up before; below /var/lib unless --user is given.
    user
        Run as this user, who owns the directory; without it systemd makes a user up.
    """
    from meterseal.app.unit import unit as text
    from meterseal.edge.memories import Memories
    from meterseal.edge.parameters import Parameters

    folder = dir.absolute()
    if not user and folder.parent != Path("/var/lib"):
        raise LocalError(
            "use.dir", f"Without --user the directory must be one of /var/lib, and {folder} is not."
        )
    _module_of(dir)
    memories = Memories(dir)
    try:
        risers = Parameters(dir, memories).take({"dir": str(dir)}).risers
    finally:
        memories.close()
    devices = [place.device for riser in risers if (place := riser.place).device]
    program = Path(sys.argv[0]).absolute()
    started = [str(program)] if program.name == "meterseal" else [sys.executable, "-P", "-m", "meterseal"]
    sys.stdout.write(text([*started, "concentrator", "run", "--dir", str(folder)], folder, devices, user))
    return 0


def _module_of(folder: Path) -> None:
    from meterseal.edge.memories import MEMORY

    if not (folder / MEMORY).is_file():
        raise LocalError(
            "use.dir",
            f"{folder} holds no concentrator. Make one with: meterseal concentrator new F0… --dir {folder}",
        )


def _asked(folder: Path, question: dict[str, Any], *, as_json: bool) -> int:
    from meterseal.edge import maintenance

    answer = asyncio.run(maintenance.ask(folder, question))
    show(json_module.dumps(answer), as_json=as_json, lines=_facts)
    return 0


def _facts(answer: Any) -> list[str]:
    if isinstance(answer, dict) and isinstance(answer.get("answers"), list):
        lines = [line for one in answer["answers"] for line in (one["di"], *_readings(one["readings"]))]
        return [*lines, *(f"{di}  refused" for di in answer["refused"])]
    if isinstance(answer, list):
        return ["  ".join(f"{key} {value}" for key, value in row.items()) for row in answer]
    return [f"{key:<14} {value}" for key, value in answer.items()]


def _readings(readings: dict[str, Any]) -> list[str]:
    rows = []
    for name, value in readings.items():
        number = (
            None if value["register"] is None else Decimal(value["register"]).scaleb(value["exponent"] or 0)
        )
        shown = value["text"] if number is None else f"{number:f} {value['unit'] or ''}".rstrip()
        rows.append(f"  {name:<44} {shown if shown is not None else '-'}")
    return rows
