"""A scripted platform for the tests of the edge: enrols modules, shakes hands, opens records,
acknowledges or does not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from meterseal.crypto import certificates, sm2
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.chip import Chip, Personal
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, NvStore, SealedNv
from meterseal.link import commands, control, evidence, firmware, records
from meterseal.link.control import Word
from meterseal.link.handshake import Enrolment, Granted, PlatformRun
from meterseal.link.identities import check_device_chain
from meterseal.link.proving import Ephemeral
from meterseal.link.schedule import bound_keys, update_key
from meterseal.wire.frame import Frame
from tests.crypto.pki import NOW, PROJECT, Tree

STORAGE = SymmetricKey.from_bytes(bytes(range(16)), "a test's storage key")


class Enrolled:
    """What the platform knows of one module."""

    def __init__(self, device_id: bytes, module_id: bytes, suite: int, point: bytes) -> None:
        self.device_id, self.module_id, self.suite, self.point = device_id, module_id, suite, point
        self.bound = SymmetricKey.from_bytes(os.urandom(16), "K_b of a test")
        self.root = SymmetricKey.from_bytes(os.urandom(16), "K_r of a test")
        self.version = 1

    @property
    def keys(self):
        return bound_keys(self.bound)

    @property
    def update(self) -> SymmetricKey:
        return update_key(self.root)


class Session:
    """An open session, and what came in it."""

    def __init__(self, granted: Granted) -> None:
        self.granted = granted
        self.down = 0
        self.consumed: set[int] = set()


class Platform:
    """Answers every message as LINK wants; `deaf` turns acknowledgements off."""

    def __init__(self, *, policy: int = 2, records_allowed: int = 1_000_000) -> None:
        self.tree = Tree()
        self.now = NOW
        self.policy, self.records_allowed = policy, records_allowed
        self.enrolled_modules: dict[bytes, Enrolled] = {}
        self.runs: dict[bytes, PlatformRun] = {}
        self.hellos: dict[bytes, PlatformRun] = {}
        self.sessions: dict[bytes, Session] = {}
        self.latest: dict[bytes, Session] = {}
        self.frames: list[tuple[bytes, Frame]] = []
        self.statements: list[tuple[bytes, bytes]] = []
        self.counters: list[tuple[bytes, int]] = []
        self.refused: list[str] = []
        self.reports: list[firmware.Report] = []
        self.counter = 0
        self.deaf = False
        self.platform_chain = self.tree.platform_chain

    # --- enrolment --------------------------------------------------------------------------------------

    def personal(self, chip: Chip, device_id: bytes, module_id: bytes, suite: int = 1) -> Personal:
        point = chip.state().point or chip.make_key(module_id)
        known = self.enrolled_modules[device_id] = Enrolled(device_id, module_id, suite, point)
        leaf = certificates.issue_leaf(
            self.tree.device_ca,
            self.tree.device_ca_key,
            point=point,
            name="device",
            purpose="device",
            uris=[certificates.uri("device", device_id), certificates.uri("module", module_id)],
            since=NOW - 86_400_000,
            until=NOW + 86_400_000,
        )
        from meterseal.crypto.expose import expose

        return Personal(
            device_id=device_id,
            suite=suite,
            project_id=PROJECT,
            key_version=1,
            bound_at=NOW - NOW % 86_400_000,
            envelope=sm2.encrypt(point, expose(known.bound) + expose(known.root)),
            root=self.tree.root if suite == 1 else b"",
            chain=(leaf, self.tree.device_ca) if suite == 1 else (),
        )

    def module(
        self, device_id: bytes, module_id: bytes, suite: int = 1, store: NvStore | None = None
    ) -> tuple[Chip, SealedNv]:
        """A personalised module, powered on, and its memory."""
        sealed = SealedNv(store if store is not None else MemoryNv(), STORAGE, module_id)
        chip = Chip(Module(sealed))
        chip.personalise(self.personal(chip, device_id, module_id, suite))
        return chip, sealed

    # --- ports of the handshake -------------------------------------------------------------------------

    def random(self, size: int) -> bytes:
        return os.urandom(size)

    def enrolled(self, device_id: bytes, module_id: bytes, key_version: int) -> Enrolment | None:
        known = self.enrolled_modules.get(device_id)
        if known is None or known.module_id != module_id or known.version != key_version:
            return None
        return Enrolment(known.suite, known.keys.link)

    def ephemeral(self) -> Ephemeral:
        return Sm2PrivateKey.generate("E_p")

    def chain(self) -> Sequence[bytes]:
        return self.platform_chain

    def sign(self, message: bytes) -> bytes:
        return self.tree.platform_key.sign(message)

    def check_device(self, chain: Sequence[bytes], device_id: bytes, module_id: bytes) -> bytes:
        return check_device_chain(
            chain, root=self.tree.root, device_id=device_id, module_id=module_id, at=self.now, crls=None
        ).point

    # --- messages ---------------------------------------------------------------------------------------

    def receive(self, message: bytes) -> list[bytes]:
        """What the platform answers to one message of a device."""
        if message[:4] == b"MS\x01\x01":
            run = self.hellos.get(message)
            if run is None:
                run = self.hellos[message] = PlatformRun(
                    self, records_allowed=self.records_allowed, seconds_allowed=2_592_000, policy=self.policy
                )
            answer = run.begin(message, self.now)
            self.runs[run.session_id] = run
            return [answer]
        if message[:4] == b"MS\x01\x03":
            granted = self.runs[message[6:14]].finish(message, self.now)
            session = self.sessions.setdefault(granted.session_id, Session(granted))
            self.latest[granted.device_id] = session
            return [granted.message]
        return self.record(message)

    def record(self, message: bytes) -> list[bytes]:
        header = records.parse_header(message, up=True)
        session = self.sessions[header.session_id]
        keys, granted = session.granted.keys, session.granted
        assert records.check_tag(keys, message)
        if header.control:
            word = control.open_control(keys, header, message)
            if word.kind == control.PING:
                return []
            if word.kind == control.FIRMWARE:
                self.reports.append(firmware.read_report(word.content))
                self.counter, self.latest[granted.device_id] = header.counter, session
                return []
            if header.counter not in session.consumed and word.kind == control.EVIDENCE:
                proof = control.read_evidence(word.content, granted.suite)
                self.statements.append((proof.statement, proof.signature))
        elif header.counter not in session.consumed:
            frames = records.parse_body(header, message)
            records.check_addresses(header, frames, granted.device_id)
            self.frames += [(granted.device_id, one) for one in records.open_frames(keys, header, frames)]
        if self.deaf:
            return []
        session.consumed.add(header.counter)
        self.counters.append((header.session_id, header.counter))
        return [self.word(session, control.acks([header.counter])[0])]

    def word(self, session: Session, word: Word) -> bytes:
        session.down += 1
        granted = session.granted
        return control.seal_control(granted.keys, granted.session_id, session.down, word, up=False)

    def request(self, device_id: bytes, frame: Frame, *, plain: bool = False) -> bytes:
        session = self.latest[device_id]
        session.down += 1
        granted = session.granted
        return records.seal_record(
            granted.keys, granted.session_id, session.down, [frame.encode()], up=False, plain=plain
        )

    def command(
        self, device_id: bytes, frame: Frame, number: int, not_after: int, authorisation: bytes | None = None
    ) -> bytes:
        session, known = self.latest[device_id], self.enrolled_modules[device_id]
        session.down += 1
        if authorisation is None:
            authorisation = commands.authorise(
                known.keys.command, device_id, number, not_after, frame.encode()
            )
        return commands.seal_guarded(
            session.granted.keys,
            session.granted.session_id,
            session.down,
            number=number,
            not_after=not_after,
            authorisation=authorisation,
            frame=frame.encode(),
        )

    def statement_holds(self, device_id: bytes, statement: bytes, signature: bytes) -> bool:
        known = self.enrolled_modules[device_id]
        if known.suite == 1:
            return evidence.check_signature(known.point, statement, signature)
        return evidence.check_mac(known.keys.evidence, statement, signature)


def shake_hands(platform: Platform, chip: Chip, now: int = NOW) -> bytes:
    """A whole handshake straight between platform and module; the session id."""
    (answer,) = platform.receive(chip.hello(now))
    (session,) = platform.receive(chip.platform(answer, now))
    return chip.session(session, now).session_id
