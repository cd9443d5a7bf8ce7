"""One meter whose firmware can be renewed, alone with the scripted platform; its memory may lose power at any write."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from meterseal.crypto.symmetric import sm3
from meterseal.edge.agent import LinkAgent, Timing
from meterseal.edge.chip import Chip
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.firmware import Firmware, Pace, sample
from meterseal.edge.module import Module
from meterseal.edge.node import Node, Secured
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.water import WaterMeter
from meterseal.link import firmware
from meterseal.link.control import Word
from meterseal.link.firmware import Manifest, Phase, Report, Signed
from tests.crypto.pki import NOW, PROJECT
from tests.edge.platform import STORAGE, Platform

WATER = bytes.fromhex("1078330011223344")
MODULE = bytes.fromhex("4d53000000000001")
MODEL = "water-generic"
MINUTE, DAY = 60_000, 86_400_000
PACE = Pace(trial=10 * MINUTE, repeat=1_000, slowest=8_000)
TIMING = Timing(repeat=1_000, slowest=8_000, backoff=200, window=8)


class PowerCut(Exception):
    """The supply went away in the middle of a write."""


class Supply:
    """The supply of a whole device: it goes away at write number `cut`, before or after that write took effect."""

    def __init__(self, cut: int = 0, *, after: bool = False) -> None:
        self.writes, self.cut, self.after = 0, cut, after


class Cut(MemoryNv):
    """Memory on that supply."""

    def __init__(self, supply: Supply) -> None:
        super().__init__()
        self.supply = supply

    def write(self, pages) -> None:  # type: ignore[no-untyped-def]
        self.supply.writes += 1
        if self.supply.writes != self.supply.cut:
            super().write(pages)
            return
        if self.supply.after:
            super().write(pages)
        raise PowerCut


class Nothing:
    """A mechanism that stands still: the meter has nothing to deliver."""

    since = until = NOW

    def register(self, channel: int, at: int) -> int:
        return 0

    def stored(self, channel: int, end_at: int) -> int | None:
        return None


class Release:
    """An image and its manifest, signed by the scripted platform's key unless said otherwise."""

    def __init__(self, platform: Platform, image: bytes, **other: object) -> None:
        self.image = image
        self.blocks = firmware.split(image)
        self.leaves = [firmware.leaf_of(one) for one in self.blocks]
        manifest = Manifest(
            project_id=PROJECT,
            model=MODEL,
            hardware=1,
            version=int.from_bytes(image[4:8], "big"),
            lowest=1,
            size=len(image),
            root=firmware.root_of(self.leaves),
            until=NOW + 20 * DAY,
        )
        self.manifest = replace(manifest, **other)  # type: ignore[arg-type]
        raw = firmware.manifest_bytes(self.manifest)
        signature = platform.tree.platform_key.sign(firmware.LABEL + raw)
        self.signed = Signed(raw, signature, tuple(platform.platform_chain))
        self.digest = sm3(raw)

    def offer(self) -> Word:
        return firmware.offer(self.signed)

    def block(self, index: int, flags: int = 0) -> Word:
        return firmware.block(self.digest, index, self.blocks, self.leaves, flags)


class Rig:
    """The meter, the platform, and the words between them."""

    def __init__(self, suite: int = 1, supply: Supply | None = None) -> None:
        self.supply = supply or Supply()
        self.memory, self.pages = Cut(self.supply), Cut(self.supply)
        self.platform = Platform()
        self.platform.module(WATER, MODULE, suite, store=self.memory)
        self.now = NOW
        self.random = Random(1)
        self.number = 0
        self.firmware: Firmware
        self.power_on()

    def power_on(self) -> None:
        """Everything starts from what it stored."""
        meter = WaterMeter(WATER, Nothing())
        self.chip = Chip(Module(SealedNv(self.memory, STORAGE, MODULE)))
        pages = SealedNv(self.pages, STORAGE, b"controller")
        outbox = DailyOutbox(meter, self.chip, pages)
        self.firmware = Firmware(self.chip, pages, model=MODEL, pace=PACE)
        agent = LinkAgent(self.chip, outbox, TIMING, self.random.random)
        self.node = Node(meter, Secured(self.chip, agent, outbox, self.firmware))

    @property
    def secured(self) -> Secured:
        assert self.node.secured is not None
        return self.node.secured

    def run(self, seconds: float = 10.0) -> list[Report]:
        """Let the device speak; what it said of its firmware meanwhile."""
        since = len(self.platform.reports)
        for _ in range(int(seconds * 20)):
            self.now += 50
            self.platform.now = self.now
            message = self.secured.offer(self.now)
            if message is not None:
                for answer in self.platform.receive(message):
                    self.node.take(answer, self.now)
        return self.platform.reports[since:]

    def say(self, *words: Word) -> None:
        """Words in the newest session."""
        for word in words:
            self.node.take(self.platform.word(self.platform.latest[WATER], word), self.now)

    def order(self, release: Release, authorisation: bytes | None = None) -> None:
        """The guarded order to switch."""
        self.number += 1
        frame = firmware.switch_frame(WATER, release.digest, self.number % 256)
        until = self.now + 60 * MINUTE
        self.node.take(self.platform.command(WATER, frame, self.number, until, authorisation), self.now)

    def receive(self, release: Release) -> None:
        """Offer and blocks, all of them."""
        self.say(release.offer(), *(release.block(index) for index in range(len(release.blocks))))

    def saw(self, release: Release) -> None:
        """The answer to the newest report, if it is of this release."""
        self.say(firmware.seen(release.digest, self.platform.counter))

    def install(self, release: Release) -> None:
        """Everything up to the sighting."""
        self.run(2)
        self.receive(release)
        self.order(release)
        self.run(5)
        self.saw(release)

    def carry_on(self, release: Release) -> bool:
        """What a platform says to the newest report; True once the release runs and was seen."""
        told = self.run(3)
        if not told:
            return False
        report = told[-1]
        if report.running == release.digest:
            self.saw(release)
            return self.firmware.phase is Phase.IDLE
        if report.phase is Phase.READY and report.staged == release.digest:
            self.order(release)
        elif report.staged == release.digest:
            missing = firmware.missing_of(report.missing, report.blocks)
            self.say(*(release.block(index, firmware.REPORT_NOW) for index in missing))
        else:
            self.say(release.offer())
        return False


def image(version: int, size: int = 5_000, flaw: int = 0) -> bytes:
    """A simulated image."""
    return sample(version, size=size, flaw=flaw)
