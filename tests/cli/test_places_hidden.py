"""A real small run at planted places: neither the host, nor a port, nor the password of a TLS key shows in any file."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from meterseal.app import config
from meterseal.app.config import PUBLIC, Layout
from meterseal.app.settings import open_settings
from meterseal.edge.memories import Memories
from meterseal.edge.parameters import Parameters
from meterseal.mesh.authority import TlsDirectory
from tests.cli.conftest import Up, meterseal

HOST = "127.0.13.37"


def files(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(folder.parent))] = path.read_bytes()
    return found


def shows(content: bytes, ports: list[int], words: list[str]) -> list[str]:
    """What of the planted shows in a file: the host as text and as an address with or without its port, a port as a
    number of its own in text, beside a name or as a packed number, a word in any case, reversed or not.
    """
    packed = socket.inet_aton(HOST)
    found = [
        word for word in [HOST, *words] for form in (word.encode(), word.encode()[::-1]) if form in content
    ]
    for port in ports:
        digits = str(port).encode()
        if re.search(rb"(?<![\w.])(port\W{1,4}|:|\"|\[|, ?)?" + digits + rb"(?![\w.])", content):
            found.append(f"port {port} as text")
        for order in ("big", "little"):
            number = port.to_bytes(2, order)  # type: ignore[arg-type]
            if packed + number in content or number + packed in content:
                found.append(f"address and port {port}")
            if any(name + b"\xcd" + number in content for name in (b"web", b"tcp", b"tls", b"keys", b"port")):
                found.append(f"packed port {port}")
    return found


def test_the_hunt_finds_what_lies_in_clear() -> None:
    for leak in (
        b'{"port": 48215}',
        b"x 127.0.13.37:48215",
        b"[48215, 1]",
        b"\x83tls\xcd\xbc\x57",
        b"\x7f\x00\x0d\x25\xbc\x57",
    ):
        assert shows(leak, [48_215], []), leak
    assert shows(b"\x7f\x00\x0d\x25\xbc\x57", [48_215], []) == ["address and port 48215"]
    assert shows(b"...secret...", [], ["secret"]) == ["secret"]


def test_no_file_of_system_or_field_shows_a_host_a_port_or_a_password(tmp_path: Path) -> None:
    """HM-8.3.3.b, HM-8.4.3.b."""
    data, field = tmp_path / "data", tmp_path / "data.field"
    chosen = []
    for name in PUBLIC:
        with socket.create_server((HOST, 0)) as one:
            chosen += [f"--{name.replace('_', '-')}-port", str(one.getsockname()[1])]
    up = Up(data, "--host", HOST, *chosen)
    try:
        assert up.said["web"] == f"http://{HOST}:{chosen[1]}"
        link = meterseal("account", "link", "--data", data, "--json")
        assert link.document["url"].startswith(up.said["web"])
        played = meterseal(
            "simulate", "--data", data, "--dwellings", "1", "--days", "2", "--exit", "--json", within=90
        )
        assert played.status == 0, played
        shown = files(data) | files(field)
        layout = Layout(data)
        passphrase = config.read_passphrase(layout, create=False)
        settings = open_settings(layout, TlsDirectory(layout.tls).open(passphrase))
        assert settings.host == HOST
        assert sorted(map(str, (settings.ports[name] for name in PUBLIC))) == sorted(chosen[1::2])
    finally:
        assert up.end() == 0
    shown |= {f"{name} (ended)": content for name, content in (files(data) | files(field)).items()}
    memories = Memories(field / "concentrator")
    kept = Parameters(field / "concentrator", memories)
    told = kept.take({"dir": str(field / "concentrator")})
    memories.close()
    assert told.headend_host == HOST
    assert told.headend_port == settings.ports["headend_tls"]
    kept_password = told.tls.password if told.tls else ""
    assert len(kept_password) == 32
    ports = [*settings.ports.values(), *(riser.port for riser in told.risers)]
    # True registers may have the digits of a port by chance; they are the simulation's own record of the truth.
    looked = {name: content for name, content in shown.items() if not name.endswith("registers.csv")}
    assert len(looked) > 30
    found = {
        name: what for name, content in looked.items() if (what := shows(content, ports, [kept_password]))
    }
    assert found == {}
    assert not any(HOST.encode() in content for content in shown.values())
