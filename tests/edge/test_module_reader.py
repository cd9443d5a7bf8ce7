"""The module behind PC/SC: the same port through the system's card service, with our module as the card of a virtual
reader (HM-8.5.4.a: the same interface drives a real chip).
"""

from __future__ import annotations

import contextlib
import ctypes.util
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterseal.crypto.expose import expose
from meterseal.crypto.sm2 import encrypt
from meterseal.edge.apdu import CardIns, Sw, pack
from meterseal.edge.card import Card, IssuerKeys
from meterseal.edge.chip import Chip
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.pcsc import PcscPort, readers
from meterseal.edge.storing import ENCRYPT
from meterseal.errors import EngineError
from meterseal.link.cardkeys import Purpose
from tests.crypto.pki import NOW
from tests.edge.cards import MODULE, PIN, ROOT_KEY, WATER, refused
from tests.edge.platform import STORAGE, Platform, shake_hands
from tests.edge.test_module import freeze, report
from tests.edge.test_module_t12_clone import PAIRING
from tests.edge.test_module_vectors import F1, F2, SM4_K2_R, R

DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
SERVICE = Path("/run/pcscd/pcscd.comm")
ATR = bytes.fromhex("3b80800101")
"""T=1, nothing else said."""
OFF, ON, RESET, GIVE_ATR = 0, 1, 2, 4
CURE = "apt-get install -y pcscd vsmartcard-vpcd"


def _missing() -> str:
    """Why no virtual reader can be had here, and what cures it; empty when nothing is missing."""
    if shutil.which("pcscd") is None:
        return f"there is no pcscd; cure: {CURE}"
    if not DRIVER.exists():
        return f"there is no virtual reader (vpcd); cure: {CURE}"
    if os.geteuid() != 0:
        return "pcscd is started by root alone; run this test as root"
    if SERVICE.exists():
        try:
            socket.socket(socket.AF_UNIX).connect(str(SERVICE))
        except OSError:
            return ""
        return "another pcscd runs here; cure: systemctl stop pcscd.socket pcscd"
    return ""


needs_reader = pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")
ALONE = Path(tempfile.gettempdir()) / "meterseal-tests-pcscd.lock"
"""Held while a card service of ours runs: a machine has room for one, and tests run in several processes at a time."""


class VirtualCard:
    """Our module as the card of a vpcd reader: 2 bytes of length, then one control byte or a command APDU."""

    def __init__(self, port: int) -> None:
        self.store = MemoryNv()
        self.module: Module | None = None
        self.powered = 0
        self.longest = 0
        self._link = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while (size := self._read(2)) is not None:
            message = self._read(int.from_bytes(size, "big"))
            if not message:
                return  # the reader went away within a message
            if len(message) > 1:
                assert self.module is not None
                self.longest = max(self.longest, len(message))
                self._say(self.module.transmit(message))
            elif message[0] == GIVE_ATR:
                self._say(ATR)
            elif message[0] == OFF:
                self.module = None
            elif message[0] in (ON, RESET):
                self.module = Module(SealedNv(self.store, STORAGE, MODULE))
                self.powered += 1

    def _read(self, size: int) -> bytes | None:
        got = b""
        while len(got) < size:
            try:
                part = self._link.recv(size - len(got))
            except OSError:
                return None
            if not part:
                return None
            got += part
        return got

    def _say(self, message: bytes) -> None:
        self._link.sendall(len(message).to_bytes(2, "big") + message)

    def take_out(self) -> None:
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()


@pytest.fixture
def virtual(tmp_path: Path) -> Iterator[VirtualCard]:
    """A card service of our own with one virtual reader and our module in it."""
    with ALONE.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # let go of with the file, by a process that was killed too
        yield from _card_service(tmp_path)


def _card_service(tmp_path: Path) -> Iterator[VirtualCard]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "reader.conf").write_text(
        f'FRIENDLYNAME "meterseal"\nDEVICENAME /dev/null:{port:#x}\nLIBPATH {DRIVER}\nCHANNELID {port:#x}\n'
    )
    log = (tmp_path / "pcscd.log").open("wb")
    command = ["pcscd", "--foreground", "--config", str(tmp_path / "reader.conf")]
    service = subprocess.Popen(command, stdout=log, stderr=log)
    card = None
    try:
        for _ in range(400):
            if service.poll() is not None:  # one that is just ending still holds the place
                time.sleep(0.5)
                service = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                card = card or VirtualCard(port)
                if (found := readers()) and _in_reader(found[0]):
                    break
            except (OSError, EngineError):
                pass
            time.sleep(0.05)
        else:
            pytest.fail((tmp_path / "pcscd.log").read_text())
        assert card is not None
        yield card
    finally:
        if card is not None:
            card.take_out()
        service.terminate()
        service.wait(10)
        log.close()


def _in_reader(reader: str) -> bool:
    try:
        PcscPort(reader).close()
    except EngineError:
        return False
    return True


@needs_reader
def test_a_whole_life_through_the_card_service(virtual: VirtualCard) -> None:
    reader = readers()[0]
    assert reader.startswith("meterseal")
    platform = Platform()
    with PcscPort(reader) as port:
        chip, card = Chip(port), Card(port)
        chip.personalise(platform.personal(chip, WATER, MODULE, 1))
        chip.pair(encrypt(chip.state().point, expose(PAIRING)))
        issuer = IssuerKeys(platform.enrolled_modules[WATER].keys.auth)
        card.external(issuer)
        card.set_pin(issuer, PIN)
        card.write_key(issuer, 0, 1, ROOT_KEY, usage=ENCRYPT, levels=2)
        powered = virtual.powered
    with PcscPort(reader) as port:
        assert virtual.powered > powered
        chip, card = Chip(port), Card(port)
        assert refused(lambda: chip.hello(NOW)) == Sw.SECURITY  # paired, and the device has not proved itself
        chip.present(PAIRING)
        shake_hands(platform, chip)
        (ack,) = platform.receive(chip.seal(report() * 24, NOW).record)
        assert chip.open(ack, NOW).done == (1,)
        platform.receive(chip.seal_evidence(1, chip.sign(freeze(1)), NOW).record)
        ((statement, signature),) = platform.statements
        assert platform.statement_holds(WATER, statement, signature)
        card.verify(PIN)
        assert refused(lambda: card.verify("000000")) == 0x63C4
        card.init_descrypt(0, F1 + F2)
        assert card.descrypt(0x00, b"", R).hex().upper() == SM4_K2_R
        card.update(issuer, 6, b"a parameter")
        assert card.read(6, size=11) == b"a parameter"
        assert virtual.longest > 1000  # commands with a long Lc passed whole
    with PcscPort(reader) as port:
        chip, card = Chip(port), Card(port)
        chip.present(PAIRING)
        assert card.tries() == 4
        card.external(issuer, Purpose.DESTROY)
        assert refused(lambda: card.verify(PIN)) == Sw.CONDITIONS


@needs_reader
def test_a_second_program_does_not_get_the_card_meanwhile(virtual: VirtualCard) -> None:
    reader = readers()[0]
    with PcscPort(reader), pytest.raises(EngineError, match="in use by another program"):
        PcscPort(reader)
    PcscPort(reader).close()


@needs_reader
def test_a_card_that_is_taken_out_is_named_so(virtual: VirtualCard) -> None:
    reader = readers()[0]
    with PcscPort(reader) as port:
        assert port.transmit(pack(CardIns.GET_CHALLENGE, expected=16))[-2:] == b"\x90\x00"
        virtual.take_out()
        with pytest.raises(EngineError, match="cannot be reached") as error:
            port.transmit(pack(CardIns.GET_CHALLENGE, expected=16))
    assert error.value.code == "module.reader"


@needs_reader
def test_a_reader_that_is_not_there_is_named_so(virtual: VirtualCard) -> None:
    with pytest.raises(EngineError, match="no reader of this name"):
        PcscPort("another reader")


class _Answers:
    """A card library whose card answers as told."""

    def __init__(self, *answers: bytes) -> None:
        self.answers, self.sent = list(answers), []

    def once(self, command: bytes) -> bytes:
        self.sent.append(command.hex())
        return self.answers.pop(0)


def test_an_answer_in_parts_comes_whole() -> None:
    port, card = PcscPort.__new__(PcscPort), _Answers(b"ab\x61\x02", b"cd\x61\x01", b"e\x90\x00")
    port._once = card.once  # type: ignore[method-assign]
    assert port.transmit(b"\x80\xca\x00\x00") == b"abcde\x90\x00"
    assert card.sent == ["80ca0000", "00c0000002", "00c0000001"]


def test_a_wrong_length_is_asked_again_with_the_right_one() -> None:
    port, card = PcscPort.__new__(PcscPort), _Answers(b"\x6c\x10", b"x" * 16 + b"\x90\x00")
    port._once = card.once  # type: ignore[method-assign]
    assert port.transmit(b"\x00\x84\x00\x00\x00") == b"x" * 16 + b"\x90\x00"
    assert card.sent == ["0084000000", "0084000010"]


def test_without_the_library_or_the_service_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(EngineError, match="apt install libpcsclite1 pcscd"):
        readers()
