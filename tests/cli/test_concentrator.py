"""`meterseal concentrator`: made, enrolled, set up once, run on a line, asked; and its unit of systemd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meterseal.app.unit import Notify, unit
from meterseal.edge.inquiry import Inquiry
from meterseal.edge.maintenance import MaintenancePort
from meterseal.errors import EngineError
from meterseal.wire.codec import Reader
from tests.cli.conftest import Run, Up, meterseal
from tests.edge.buses import Wire

WATER = "1078330000000001"
SETUP = """
device_id = "{device}"
module_id = "{module}"
headend = "127.0.0.1:{port}"
[timing]
repeat = 500
[[bus]]
line = "tcp:127.0.0.1:{bus}"
plain = ["{water}"]
"""


class Made:
    """A concentrator that a system enrolled, not yet set up."""

    def __init__(self, run: Run, up: Up, folder: Path, serial: str) -> None:
        self.device, self.dir, self.papers = (
            "f0" + serial.zfill(14),
            folder / "concentrator",
            folder / "papers",
        )
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text("of the TLS key\n")
        self.passphrase.chmod(0o600)
        said = run("concentrator", "new", self.device, "--dir", self.dir, "--json").document
        self.module = said["module_id"]
        enrolled = run(
            "concentrator", "enrol", self.device, "--data", up.data, "--module-id", self.module,
            "--module-point", said["module_point"], "--to", self.papers,
            "--key-passphrase-file", self.passphrase, "--json",
        )  # fmt: skip
        assert enrolled.status == 0, enrolled
        self.file = folder / "setup.toml"

    def setup(self, run: Run, *, port: int, bus: int, identity: bool = True) -> object:
        self.file.write_text(
            SETUP.format(device=self.device, module=self.module, port=port, bus=bus, water=WATER)
        )
        more = ("--identity", self.papers, "--key-passphrase-file", self.passphrase) if identity else ()
        return run("concentrator", "setup", self.file, "--dir", self.dir, *more, "--json")


def test_made_enrolled_set_up_and_run_it_reads_its_meter_and_reaches_the_head_end(
    running: Up, tmp_path: Path, inside: Run
) -> None:
    made = Made(inside, running, tmp_path, "1")
    port = int(running.said["headend"]["tls"].rpartition(":")[2])
    wire, served = Wire([bytes.fromhex(WATER)]), socket.create_server(("127.0.0.1", 0))
    said = made.setup(inside, port=port, bus=served.getsockname()[1])
    assert said.document["meters"] == 1, said  # type: ignore[attr-defined]
    made.file.unlink()
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    notified.settimeout(20)
    process = subprocess.Popen(
        [sys.executable, "-m", "meterseal", "concentrator", "run", "--dir", str(made.dir)],
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        stderr=subprocess.PIPE,
    )
    try:
        assert notified.recv(64) == b"READY=1"
        served.settimeout(20)
        bus, _ = served.accept()
        bus.settimeout(20)
        reader = Reader()
        while (request := reader.next_frame()) is None:
            reader.feed(bus.recv(1024))
        bus.sendall(wire.answer(request, time.time_ns() // 1_000_000))
        assert notified.recv(64) == b"WATCHDOG=1"
        deadline = time.monotonic() + 20
        status = {}
        while time.monotonic() < deadline and not status.get("reachable"):
            status = inside("concentrator", "status", "--dir", made.dir, "--json").document
            time.sleep(0.1)
        assert (status["reachable"], status["buses"]) == (True, 1)
        (row,) = inside("concentrator", "status", "--meters", "--dir", made.dir, "--json").document
        assert row["device_id"] == WATER
        assert row["heard_at"] > 0
        assert "another running program" in meterseal("concentrator", "run", "--dir", made.dir).sentence()
    finally:
        process.terminate()
        _, complaints = process.communicate(timeout=20)
        served.close()
    assert process.returncode == 0
    said_unit = inside("concentrator", "unit", "--dir", made.dir, "--user", "gateway")
    assert f"concentrator run --dir {made.dir}\n" in said_unit.out
    assert "DevicePolicy=closed" in said_unit.out
    assert "--user" in inside("concentrator", "unit", "--dir", made.dir).sentence()
    assert b"Traceback" not in complaints
    assert inside("concentrator", "status", "--dir", made.dir, "--json").error() == "concentrator.down"
    again = made.setup(inside, port=port, bus=1, identity=False)
    assert again.status == 0  # type: ignore[attr-defined]
    shown = [path for path in made.dir.rglob("*") if path.is_file() and b"127.0.0.1" in path.read_bytes()]
    assert shown == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("plain", "palin"), "palin"),
        (("tcp:", "usb:"), "names no line"),
        ((f'["{WATER}"]', f'["{WATER}", "{WATER}"]'), "twice"),
        (("[timing]", "[schedule]\nevery_minutes = 0\n[timing]"), "no meter is ever read"),
        (('127.0.0.1:7"\n[timing]', 'nowhere"\n[timing]'), "headend"),
        ((f'"{WATER}"]', f'"{WATER}"]\nmodels = {{ "{WATER}" = "none" }}'), "no model"),
    ],
    ids=["unknown-field", "no-line", "twice", "never", "no-headend", "no-model"],
)
def test_a_wrong_setup_file_is_refused_in_one_sentence(
    inside: Run, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    text = SETUP.format(device="f0" + "00" * 7, module="4d53" + "00" * 6, port=7, bus=8, water=WATER)
    assert change[0] in text
    (tmp_path / "setup.toml").write_text(text.replace(*change))
    answer = inside("concentrator", "setup", tmp_path / "setup.toml", "--dir", tmp_path / "none")
    assert answer.status == 1
    assert said in answer.sentence()
    assert not (tmp_path / "none").exists()


def test_a_setup_file_that_is_no_text_or_not_there_is_refused_in_plain_words(
    inside: Run, tmp_path: Path
) -> None:
    (tmp_path / "setup.toml").write_bytes(b"\xbb")
    for name, said in (("setup.toml", "no text in UTF-8"), ("none.toml", "(No such file or directory)")):
        answer = inside("concentrator", "setup", tmp_path / name, "--dir", tmp_path / "none")
        assert answer.status == 1
        assert said in answer.sentence()
        assert "Errno" not in answer.err


def test_nothing_is_run_or_asked_where_no_concentrator_is(inside: Run, tmp_path: Path) -> None:
    for verb in ("run", "unit"):
        assert "concentrator new" in inside("concentrator", verb, "--dir", tmp_path, *_who(verb)).sentence()
    assert "No concentrator answers" in inside("concentrator", "status", "--dir", tmp_path).sentence()
    assert list(tmp_path.iterdir()) == []


def _who(verb: str) -> tuple[str, ...]:
    return ("--user", "gateway") if verb == "unit" else ()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("user", ["", "root"], ids=["made-up", "given"])
def test_systemd_takes_the_unit_and_finds_nothing_to_complain_about(tmp_path: Path, user: str) -> None:
    file = tmp_path / "gateway.service"
    program = shutil.which("true")
    assert program is not None
    file.write_text(unit([program], Path("/var/lib/gateway"), ["/dev/ttyUSB0"], user))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "gateway" in line]
    assert (done.returncode, ours) == (0, [])


def test_a_service_manager_that_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    for _ in range(2_000):
        Notify(str(tmp_path / "notify")).say("WATCHDOG=1")
    assert listener.recv(64) == b"WATCHDOG=1"
    listener.close()


def test_what_a_person_may_get_wrong_is_named_before_anything_is_done(
    running: Up, inside: Run, tmp_path: Path
) -> None:
    folder, device = tmp_path / "concentrator", "f0" + "00" * 6 + "ee"
    assert "F0" in inside("concentrator", "new", WATER, "--dir", folder).sentence()
    made = inside("concentrator", "new", device, "--dir", folder, "--json").document
    (tmp_path / "passphrase").write_text("of the TLS key\n")
    (tmp_path / "passphrase").chmod(0o600)
    enrol = ("concentrator", "enrol", device, "--data", running.data, "--module-id", made["module_id"])
    to = ("--to", tmp_path, "--key-passphrase-file", tmp_path / "passphrase")
    assert inside(*enrol, "--module-point", "04", *to, "--json").error() == "use.module"
    assert inside(*enrol, "--module-point", "zz", *to, "--json").error() == "use.module"
    (tmp_path / f"{device}.crt").write_bytes(b"another's")
    assert inside(*enrol, "--module-point", made["module_point"], *to, "--json").error() == "use.file"
    file = tmp_path / "setup.toml"
    file.write_text(SETUP.format(device=device, module=made["module_id"], port=7, bus=8, water=WATER))
    setup = ("concentrator", "setup", file, "--dir", folder, "--json")
    assert inside(*setup).error() == "use.identity"
    for end in (".key", ".root.crt", ".personalisation"):
        (tmp_path / f"{device}{end}").write_bytes(b"\xc1")
    identity = ("--identity", tmp_path, *to[2:])
    assert inside(*setup, *identity).error() == "use.identity"
    (tmp_path / f"{device}.personalisation").unlink()
    assert inside(*setup, *identity).error() == "concentrator.module"
    file.write_text(file.read_text().replace(":7", ":70000"))
    assert inside(*setup).error() == "concentrator.config"
    many = ", ".join(f'"1078330000{number:06d}"' for number in range(2_001))
    file.write_text(file.read_text().replace(":70000", ":7").replace(f'"{WATER}"', many))
    assert inside(*setup).error() == "concentrator.config"


async def test_a_port_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    port = MaintenancePort(tmp_path / "none", Inquiry.ask)  # type: ignore[arg-type]
    with pytest.raises(EngineError) as error:
        await port.start()
    assert error.value.code == "concentrator.port"
