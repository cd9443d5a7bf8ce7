"""The file of further transports: taken in whole or refused with a sentence, kept sealed, served at the next start too."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from meterseal.app import transports
from meterseal.app.config import Layout, Settings
from meterseal.app.settings import open_settings, save
from meterseal.app.transports import Transports, read, settled
from meterseal.errors import LocalError
from tests.app.test_settings import system

WHOLE = """
[udp]
port = 5690
[coap]
host = "127.0.0.1"
[[mqtt]]
url = "mqtts://broker.example:8883"
username = "headend"
password_file = "broker.password"
root_file = "root.pem"
[push]
port = 8093
[[push.carrier]]
name = "alpha"
token_file = "carrier.token"
device = "IMEI"
payload = "payload.APPdata"
"""


def folder(tmp_path: Path, text: str = WHOLE) -> Path:
    (tmp_path / "broker.password").write_text("pw-of-a-broker\n")
    (tmp_path / "root.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "carrier.token").write_text("Bearer of-a-carrier\n")
    (tmp_path / "long.token").write_text("x" * 70_000)
    (tmp_path / "transports.toml").write_text(text)
    return tmp_path / "transports.toml"


def test_the_files_beside_it_are_taken_in(tmp_path: Path) -> None:
    found = read(folder(tmp_path))
    assert found.udp is not None
    assert found.udp.port == 5690
    assert found.coap is not None
    assert found.coap.port == 5683
    (broker,) = found.mqtt
    assert (broker.password, broker.root) == ("pw-of-a-broker", "-----BEGIN CERTIFICATE-----")
    assert found.push is not None
    assert found.push.carrier[0].token == "Bearer of-a-carrier"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[udp", "table declaration"),
        ("[udp]\nport = 70000", "65535"),
        ("[udp]\nprot = 1", "prot"),
        ("[carrier-pigeon]", "carrier-pigeon"),
        ("mqtt = 3", ""),
        ("[[mqtt]]\nurl = 'http://broker'", "mqtt://HOST"),
        ("[[mqtt]]\nurl = 'mqtt://broker'\npassword_file = 'nowhere'", "nowhere"),
        ("[push]\nport = 1", "carrier"),
        ("[push]\n[[push.carrier]]\nname='a'\ntoken='short'\ndevice='d'\npayload='p'", "16"),
        (WHOLE.replace("[push]", "[[mqtt]]\nurl = 'mqtts://broker.example'\n[push]"), "client id"),
        (WHOLE + WHOLE[WHOLE.index("[[push.carrier]]") :], "the name alpha"),
        (WHOLE.replace("carrier.token", "long.token"), "64 KiB"),
    ],
    ids=lambda part: part.replace("\n", " ")[-60:] or "nothing",
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LocalError) as error:
        read(folder(tmp_path, text))
    assert says in error.value.message
    assert "pw-of-a-broker" not in error.value.message


def test_an_empty_file_takes_every_transport_away(tmp_path: Path) -> None:
    assert read(folder(tmp_path, "")) == Transports()


def test_no_file_and_no_text_are_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        read(tmp_path / "nowhere.toml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LocalError, match="UTF-8"):
        read(tmp_path / "binary")


def test_ports_left_open_are_chosen_once(tmp_path: Path) -> None:
    found = settled(read(folder(tmp_path, "[udp]\n[coap]\nport = 0")), "127.0.0.1")
    assert found.udp is not None
    assert found.coap is not None
    assert found.udp.port
    assert found.coap.port
    assert settled(found, "127.0.0.1") == found
    with pytest.raises(LocalError, match="no address"):
        settled(Transports(udp=transports.Udp()), "203.0.113.9")


def test_what_opens_a_broker_or_a_carrier_is_not_readable_on_disk(tmp_path: Path) -> None:
    """HM-8.3.3.b, HM-8.4.3.b."""
    layout, passwords = system(tmp_path / "data")
    kept = Settings(transports=read(folder(tmp_path)))
    save(layout, kept, passwords)
    assert open_settings(layout, passwords) == kept
    raw = Layout(tmp_path / "data").settings_file.read_bytes()
    for planted in (b"pw-of-a-broker", b"of-a-carrier", b"broker.example", b"5690", b"headend"):
        assert planted not in raw
    assert "pw-of-a-broker" not in repr(kept)
    assert "of-a-carrier" not in repr(kept)


async def test_a_system_serves_them_and_keeps_them(tmp_path: Path) -> None:
    from meterseal.app import system as app

    file = folder(tmp_path, "[udp]")
    running = await app.start(tmp_path / "data", transports_file=file)
    try:
        place = running.headend["udp"]
    finally:
        await running.stop()
    again = await app.start(tmp_path / "data")
    try:
        assert again.headend["udp"] == place
        host, _, port = place.rpartition(":")
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
            pytest.raises(OSError, match="in use"),
        ):
            probe.bind((host, int(port)))
    finally:
        await again.stop()
