"""Station wire, the capture: the frames in a text, and what those of one kind of meter have in common.

It claims nothing of a model (draft tries what it makes of this) and reads no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from meterseal.errors import DataError
from meterseal.units import unit_code
from meterseal.wire import identifiers as ids
from meterseal.wire.catalogue import FIELDS, row_of
from meterseal.wire.cjt188.names import MEDIA
from meterseal.wire.codec import search
from meterseal.wire.decode import complaint
from meterseal.wire.frame import Frame, Protocol
from meterseal.wire.meaning import interpret
from meterseal.wire.scan import Scan
from meterseal.wire.sheet import Meaning
from meterseal.wire.text import read_text
from meterseal.wire.tree import TITLES

MOST_FRAMES: Final = 2_000
"""Frames of a capture that are looked at."""
MOST_FAULTS: Final = 200
"""Lines without a frame after which a text is no capture."""
MOST_VECTORS: Final = 24
"""Frames that a model keeps."""
LONGEST_TAIL: Final = 16
ERRORS: Final = {1: "error", 2: "ser-error", 3: "ser-status", 4: "di-ser-error", 5: "di-ser-status"}
"""Layout of an error answer by its L (section 5.3)."""
LOOSE_DIGITS: Final = 4
"""Digits at the end of a number that are taken for the meter's own, where one meter alone is captured."""
FROM_METER, VENDOR, ANY, NOBODY = 0x80, 0x20, 0xAA, "0000"


class Seen(Struct, frozen=True):
    """One captured frame with its wake-up bytes and its meaning."""

    frame: Frame
    preamble: int
    meaning: Meaning

    @property
    def up(self) -> bool:
        """Whether D7 says that it comes from the meter."""
        return bool(self.frame.control & FROM_METER)

    @property
    def anybody(self) -> bool:
        """Whether its type or its address stands for any."""
        return ANY in self.frame.address or self.frame.meter_type == ANY


def frames_in(lines: Iterable[str]) -> tuple[list[Seen], list[str]]:
    """Every whole frame of a capture, line by line, and a sentence for each line that has none."""
    seen: list[Seen] = []
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        read = read_text(line)
        scan, found = Scan(read.buf), read.found
        if found.frame is None:
            faults.append(f"line {number}: {complaint(found.trial, read)}")
        while found.frame is not None:
            if len(seen) == MOST_FRAMES:
                return seen, [*faults, f"only the first {MOST_FRAMES} frames were looked at"]
            seen.append(Seen(found.frame, found.preamble, interpret(found.frame)))
            found = search(read.buf, found.next, scan)
        if len(faults) == MOST_FAULTS:
            return seen, [*faults, f"after line {number} nothing was looked at"]
    return seen, faults


def one_kind(seen: Sequence[Seen], faults: list[str]) -> list[Seen]:
    """The frames of the kind of meter that most are of; requests to any meter go with every kind."""
    named = [one for one in seen if not one.anybody]
    if not named:
        raise DataError(
            "wire.profile",
            "There is no frame of a meter in the capture; give frames in hex, one or more a line, at least one of "
            "which has the meter's address.",
        )
    kind = Counter(_kind(one.frame) for one in named).most_common(1)[0][0]
    for other in sorted({_kind(one.frame) for one in named} - {kind}):
        faults.append(f"frames of {other[1]} meters ({TITLES[other[0]]}) are another model")
    return [
        one
        for one in seen
        if _kind(one.frame) == kind
        or (one.frame.protocol == kind[0] and one.frame.meter_type == ANY and one.anybody and not one.up)
    ]


def _kind(frame: Frame) -> tuple[str, str]:
    """Protocol and medium; types of meter that are none of these four have no model."""
    if frame.protocol == "dlt645":
        return frame.protocol, "electricity"
    return frame.protocol, MEDIA.get(frame.meter_type >> 4, "unknown")


class Common:
    """What the frames of one kind of meter have in common."""

    def __init__(self, seen: Sequence[Seen]) -> None:
        self.seen = list(seen)
        self.named = [one for one in self.seen if not one.anybody]
        self.up = [one for one in self.named if one.up]
        self.down = [one for one in self.seen if not one.up]
        self.protocol: Protocol = self.named[0].frame.protocol
        medium = _kind(self.named[0].frame)[1]
        if medium not in ("water", "gas", "heat", "electricity"):
            raise DataError(
                "wire.profile",
                f"Meters of type {self.named[0].frame.meter_type:02X} have no medium that is metered.",
            )
        self.medium = medium
        self.detect = self._detect()
        self.di_order = self._order(self.down) or self._order(self.up) or "high"
        self.preamble_up, self.preamble_down = _usual(self.up, 0), _usual(self.down, 4)
        self.habits = self._habits() if self.protocol == "cjt188" else self._habits_645()
        self.name = f"{self.medium}-{self.detect[0].lower().replace('?', 'x')}"

    def _detect(self) -> list[str]:
        """One pattern a type: the digits that the meters share, of one meter all but its own."""
        patterns: list[str] = []
        for first in sorted({one.frame.device_id[:1] for one in self.named}):
            numbers = sorted(
                {one.frame.device_id.hex().upper() for one in self.named if one.frame.device_id[:1] == first}
            )
            shared = _beginning(numbers)
            vendor = numbers[0][2:6]
            if len(numbers) == 1:
                loose = vendor == NOBODY or self.protocol == "dlt645"
                shared = numbers[0][: 16 - LOOSE_DIGITS] if loose else numbers[0][:6]
            patterns.append(shared)
        return patterns

    def _order(self, seen: Sequence[Seen]) -> str | None:
        orders = Counter(
            "high" if ids.read_di(one.frame.data)[1] else "low"
            for one in seen
            if one.frame.protocol == "cjt188" and len(one.frame.data) > 1 and not one.meaning.error
        )
        return orders.most_common(1)[0][0] if orders else "low" if self.protocol == "dlt645" else None

    def _habits_645(self) -> dict[str, Any]:
        edition = next((one.meaning.edition for one in self.named if one.meaning.edition), None)
        habits: dict[str, Any] = {"edition": edition} if edition == "1997" else {}
        tails = {
            one.meaning.di_text: part.raw.hex().upper()
            for one in self.up
            for part in one.meaning.parts
            if part.name == "more bytes" and one.meaning.di_text and len(part.raw) <= LONGEST_TAIL
        }
        return {**habits, **({"tails": tails} if tails else {})}

    def _habits(self) -> dict[str, Any]:
        habits: dict[str, Any] = {}
        types = [{one.frame.meter_type for one in self.named if one.up is up} for up in (False, True)]
        if all(len(found) == 1 for found in types) and types[0] != types[1]:
            habits["asked_as"] = f"{min(types[0]):02X}"
        answered = self._order(self.up)
        if answered is not None and self._order(self.down) not in (None, answered):
            habits["answer_order"] = answered
        codes = {line.partition(":")[0] for one in self.up for line in one.meaning.anomalies}
        if "unit-order" in codes:
            habits["units_first"] = True
        if "clock-order" in codes:
            habits["clock_order"] = "high"
        if any(
            part.name == "clock" and set(part.raw) == {0xFF} for one in self.up for part in one.meaning.parts
        ):
            habits["unset_clock"] = "FF"
        for key, found in (
            ("units", self._units()),
            ("functions", self._functions()),
            ("write_answers", self._write_answers()),
            ("payloads", self._payloads()),
        ):
            if found:
                habits[key] = found
        habits.update(self._answers())
        return habits

    def _units(self) -> dict[str, str]:
        """Unit codes that differ from the usual one of their field."""
        units: dict[str, str] = {}
        for one in self.seen:
            for part in one.meaning.parts:
                field = part.name.removesuffix(" unit")
                row = FIELDS.get(field)
                if row is None or row is FIELDS.get(part.name) or not row.unit or len(part.raw) != 1:
                    continue
                if part.raw[0] != unit_code(row.unit):
                    units[field] = f"{part.raw[0]:02X}"
        return units

    def _functions(self) -> dict[str, str]:
        """Control codes of the maker's own for what the edition has a function for."""
        functions: dict[str, str] = {}
        for one in self.seen:
            row = None if one.meaning.di is None else row_of(one.meaning.di)
            code = one.frame.control & 0x3F
            if row is not None and row.writes and code & VENDOR:
                functions[row.kind] = f"{code:02X}"
        return functions

    def _write_answers(self) -> dict[str, int]:
        usual: dict[tuple[str, ...], int] = {("status",): 5, ("key_version",): 4}
        lengths: dict[str, int] = {}
        for one in self.up:
            row = None if one.meaning.di is None else row_of(one.meaning.di)
            size = len(one.frame.data)
            if row is None or not row.writes or one.meaning.error or size not in (3, 4, 5):
                continue
            if size != usual.get(row.up, 3):
                lengths[f"{row.di:04X}"] = size
        return lengths

    def _payloads(self) -> dict[str, list[str]]:
        """Fields of answers that carry others than the edition says, in the order in which they came."""
        payloads: dict[str, list[str]] = {}
        for one in self.up:
            meaning = one.meaning
            row = None if meaning.di is None else row_of(meaning.di)
            if row is None or row.writes or meaning.error or meaning.di is None or row.kind == "read-address":
                continue
            names = ["tail" if part.name == "more bytes" else part.name for part in meaning.parts[2:]]
            fields = [name for name in names if name in FIELDS]
            usual = row.layout(up=True, heat=self.medium == "heat")
            if tuple(fields) != usual:
                payloads[f"{meaning.di:04X}"] = fields
        return payloads

    def _answers(self) -> dict[str, Any]:
        """How answers to address requests and errors look, and under which code meters report by themselves."""
        habits: dict[str, Any] = {}
        for one in self.seen:
            frame, size = one.frame, len(one.frame.data)
            di = one.meaning.di
            if one.meaning.error and size in ERRORS:
                habits["error_layout"] = ERRORS[size]
            elif di == ids.ADDRESS and one.up and size == 10:
                habits["address_in_data"] = True
            elif di == ids.ADDRESS and not one.up and size == 2:
                habits["address_ser"] = False
            elif frame.control & VENDOR and (di is None or di >> 8 not in (0xA0, 0xA1)):
                habits["report"] = f"{frame.control:02X}"
        return habits

    def vectors(self) -> list[Seen]:
        """The frames to keep: each once, answers first, with readings before those without."""
        once = {one.frame.encode(): one for one in self.seen}
        listed = sorted(once.values(), key=lambda one: (not one.up, not one.meaning.readings))
        return listed[:MOST_VECTORS]

    @property
    def valve(self) -> bool:
        """Whether any frame commands a valve or a relay."""
        return any(one.meaning.di == ids.VALVE or one.frame.control & 0x1F == 0x1C for one in self.seen)


def _beginning(numbers: Sequence[str]) -> str:
    """The digits with which all of them begin."""
    first, last = min(numbers), max(numbers)
    same = next((at for at, digit in enumerate(first) if digit != last[at]), len(first))
    return first[: max(same, 2)]


def _usual(seen: Sequence[Seen], otherwise: int) -> int:
    """How many wake-up bytes most frames have that have any; 32 at most."""
    counts = Counter(min(one.preamble, 32) for one in seen if one.preamble)
    return counts.most_common(1)[0][0] if counts else otherwise
