"""T23: a small real system runs, with secrets that we know planted in it, and nothing that it writes or says shows them.

Looked for raw, reversed, in hex and in base64 at each alignment: the passphrase, a lab device's keys, a household's name
and address, and the registers of a delivered meter. Looked through: every file of the data directory while it runs and
after its end, the answers of the command line, backups, both output streams, the environment and the command line of
every process. What a person of the house asks for (the readings of one meter) is left out: that is the answer itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from meterseal.app import operator
from meterseal.app.config import Layout
from meterseal.app.door import socket_path
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.mesh.rpc import Connection
from tests.attacks.whole import DAY, ELECTRIC, SEALED, SINCE, WATER, Device, Template, running
from tests.cli.conftest import Up, meterseal
from tests.security.test_secrets import forms

NAME = "Ouyang Zhiqiang of the third floor"
ADDRESS = "Nanjing Road 4711, Huangpu"
BACKUP = b"a passphrase of a backup"
REASON = "Ms Ouyang disputes her bill of May"


def everywhere(secret: bytes | str) -> list[bytes]:
    if isinstance(secret, str):
        return [*forms(secret.encode()), secret.encode("utf-16-le"), json.dumps(secret).encode()[1:-1]]
    return forms(secret)


def found(shown: dict[str, bytes], secrets: dict[str, bytes | str]) -> list[str]:
    """Which secret shows where."""
    return [
        f"{what} shows in {where}"
        for what, secret in secrets.items()
        for form in everywhere(secret)
        for where, content in shown.items()
        if form in content
    ]


def files(folder: Path, when: str) -> dict[str, bytes]:
    return {f"{path} ({when})": path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def processes(up: Up) -> dict[str, bytes]:
    """Environment and command line of the system's processes."""
    root = psutil.Process(up.process.pid)
    shown: dict[str, bytes] = {}
    for one in (root, *root.children(recursive=True)):
        for part in ("cmdline", "environ"):
            shown[f"{part} of {' '.join(one.cmdline()[-2:])}"] = Path(f"/proc/{one.pid}/{part}").read_bytes()
    return shown


async def enrolled(data: Path) -> None:
    """A household by name, with a meter whose module nobody ever hears: what an operator types."""
    supply = operator.Supply(
        device_id=bytes.fromhex("1078330044332211"),
        medium="water",
        protocol="cjt188",
        profile="water-generic",
        since=SINCE,
        suite=1,
        module_id=bytes.fromhex("4d5300000000e001"),
        module_point=Sm2PrivateKey.generate().public_point,
    )
    premises = operator.NewPremises(name=NAME, address=ADDRESS, supplies=(supply,))
    desk = Connection.unix(socket_path(Layout(data)), patience=20.0)
    try:
        await desk.call("enrol", operator.Enrol(premises=(premises,)), operator.EnrolReply)
    finally:
        await desk.close()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system shows no process by /proc")
async def test_t23_a_running_system_shows_no_key_passphrase_or_name(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", "--lab")
    shown: dict[str, bytes] = {}
    secrets: dict[str, bytes | str] = {"name": NAME, "address": ADDRESS}
    try:
        await enrolled(up.data)
        for suite in (1, 2):
            answer = meterseal("device", "issue", "--lab", "--suite", suite, "--data", up.data, "--json")
            issued: dict[str, Any] = answer.document
            secrets[f"K_b of suite {suite}"] = bytes.fromhex(issued["k_bound"])
            for name in ("device_key", "key"):
                if issued.get(name):
                    secrets[f"{name} of suite {suite}"] = bytes.fromhex(issued[name])
        passphrase = tmp_path / "data.passphrase"
        secrets["passphrase"] = passphrase.read_bytes().strip()
        assert passphrase.stat().st_mode & 0o077 == 0
        phrase = tmp_path / "backup.passphrase"
        phrase.write_bytes(BACKUP)
        phrase.chmod(0o600)
        secrets["passphrase of the backup"] = BACKUP
        to = tmp_path / "backup"
        made = meterseal(
            "keys", "backup", "--data", up.data, "--to", to, "--backup-passphrase-file", phrase, "--json"
        )
        assert made.status == 0, made
        shown["the backup"] = to.read_bytes()
        made = meterseal("store", "backup", "--data", up.data, "--to", tmp_path / "copies", "--json")
        assert made.status == 0, made
        shown |= files(tmp_path / "copies", "backup of the platform")
        secrets["what a question was asked for"] = REASON
        asked = meterseal("sql", "SELECT count(*) FROM readings", "--reason", REASON, "--data", up.data)
        assert asked.status == 0, asked
        for question in (("status",), ("device", "list"), ("doctor",), ("device", "issue", "--suite", "9")):
            answer = meterseal(*question, "--data", up.data, "--json")
            shown[" ".join(question)] = (answer.out + answer.err).encode()
        shown |= processes(up)
        shown |= files(up.data, "running")
    finally:
        up.process.terminate()
        out, err = up.process.communicate(timeout=20)
    shown["standard output"], shown["standard error"] = out.encode(), err.encode()
    shown |= files(up.data, "ended")
    assert len(secrets) >= 7
    assert len(shown) > 30
    assert found(shown, secrets) == []


async def test_t23_no_file_shows_a_register_that_was_delivered(
    template: Template, devices: dict[bytes, Device], tmp_path: Path
) -> None:
    """Registers of a whole load profile, as scaled integers of 8 bytes and in decimal digits, journal and segments both."""
    async with running(template, tmp_path / "run") as whole:
        for device_id in SEALED:
            await whole.deliver(devices[device_id])
        shown = files(whole.root, "journal")
        await whole.mdms.compact()
        shown |= files(whole.root, "compacted")
        readings = devices[WATER].meter.readings
        secrets: dict[str, bytes | str] = {}
        for day in range(1, 4):
            value = readings.register(1, SINCE + day * DAY)
            secrets[f"register of day {day}, big-endian"] = value.to_bytes(8, "big")
            secrets[f"register of day {day}, little-endian"] = value.to_bytes(8, "little")
            secrets[f"register of day {day}, digits"] = f"{value // 100}.{value % 100:02d}"
        assert devices[ELECTRIC].done
    assert len(shown) > 10
    assert found(shown, secrets) == []


def test_t23_the_hunt_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "leak").write_bytes(b"..." + NAME.encode()[::-1] + b"...")
    assert found(files(tmp_path, "now"), {"name": NAME}) == [f"name shows in {tmp_path / 'leak'} (now)"]
