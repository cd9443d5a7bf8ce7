"""Station edge, watching: what plain meters raise the alarm about, told to the platform within hours and once each.

It reads no register and judges nobody. CJ/T 188 says it in the status word of every answer: valve and battery as the
editions have them, what the second byte means only where a setup says it. A meter of DL/T 645-2007 is asked for its
counters of events and for its status word every few hours, in its turn; a counter that moved is an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from meterseal.edge.held import HeldAnswers
from meterseal.edge.line import Line, Wanted
from meterseal.edge.nv import SealedNv
from meterseal.edge.poll import Riser
from meterseal.model import FAULT, MAGNET, REMOVED, REVERSE
from meterseal.wire import encode
from meterseal.wire.asked import Ask
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret

SEEN = "alarm/"
EVERY = 6 * 3_600_000
"""Milliseconds between two looks at the counters of a meter."""
ABNORMAL, BATTERY, POWER = 0x0300, 0x0400, 0x8000
"""First byte of what is told: valve and battery as in ST, and our bit for a failure of power."""
COUNTERS: tuple[tuple[int, str, int], ...] = (
    (0x03300D00, "cover_open_count", REMOVED),
    (0x03300E00, "terminal_cover_open_count", REMOVED),
    (0x03350000, "magnetic_field_count", MAGNET),
    (0x03360000, "relay_malfunction_count", FAULT),
    (0x03110000, "power_failures", POWER),
)
STATUS_WORD = 0x04000501
BATTERY_BITS = 0x0C
"""Clock battery and battery for reading without power, in status word 1."""
_HEAD, _COUNT = 8 + 2, 4
UNKNOWN = 0xFFFFFFFF
SILENCES = 2
"""So often a question may get no answer of a meter; then it counts as one that it refuses: some meters do it so."""
ANEW = 7 * 86_400_000
"""Milliseconds after which a meter is asked again for what it lacked: who keeps it silent twice blinds nobody for good."""

Byte = Annotated[int, Meta(ge=0, le=0xFF)]


class AlarmBits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which bits of the second status byte of a CJ/T 188 model say what, as its maker documents them; 0 for none."""

    removed: Byte = 0
    magnet: Byte = 0
    fault: Byte = 0
    reverse: Byte = 0

    def of(self, status: int) -> int:
        """What a second status byte says, in our bits."""
        said = ((self.removed, REMOVED), (self.magnet, MAGNET), (self.fault, FAULT), (self.reverse, REVERSE))
        return sum(ours for theirs, ours in said if status & theirs)


NOTHING = AlarmBits()


class _Known(Struct, frozen=True):
    """What lasts of a meter's alarms, and its counters."""

    lasts: int = 0
    counts: tuple[int, ...] = (UNKNOWN,) * len(COUNTERS)


class Watch:
    """The alarms of the plain meters of one concentrator. `bits` by the name of a model."""

    def __init__(
        self,
        store: SealedNv,
        held: HeldAnswers,
        bits: Mapping[str, AlarmBits],
        offset: int,
        lines: Mapping[bytes, Line],
    ) -> None:
        self._store, self._held, self._bits, self._offset = store, held, bits, offset
        self._known: dict[bytes, _Known] = {}
        self._names: dict[bytes, str] = {}
        self._looked: dict[bytes, int] = {}
        self._lacks: dict[bytes, set[int]] = {}
        self._quiet: dict[bytes, dict[int, int]] = {}
        self._anew: dict[bytes, int] = {}
        """Since when each meter counts as lacking what it lacks."""
        self.told = 0
        gone: dict[str, bytes | None] = {}
        for name in store.names():
            if not name.startswith(SEEN):
                continue
            page = store.read(name) or b""
            if (
                len(page) != _HEAD + _COUNT * len(COUNTERS)
                or page[:8] not in lines
                or page[:8] in self._known
            ):
                gone[name] = None
                continue
            counts = tuple(
                int.from_bytes(page[at : at + _COUNT], "big") for at in range(_HEAD, len(page), _COUNT)
            )
            self._known[page[:8]] = _Known(int.from_bytes(page[8:_HEAD], "big"), counts)
            self._names[page[:8]] = name
        if gone:
            store.write(gone)

    def forget(self, device_id: bytes) -> None:
        """The meter is not here any more."""
        self._known.pop(device_id, None)
        for table in (self._looked, self._lacks, self._quiet, self._anew):
            table.pop(device_id, None)
        if (name := self._names.pop(device_id, None)) is not None:
            self._store.write({name: None})

    def heard(self, riser: Riser, line: Line, frame: Frame, now: int) -> None:
        """A plain meter answered for its register."""
        if line.protocol == "cjt188":
            status = interpret(frame).status
            if status is not None:
                self._status(line, bytes.fromhex(status.raw), now)
        elif not line.is_1997 and now - self._looked.get(line.device_id, -EVERY) >= EVERY:
            self._looked[line.device_id] = now
            self._look(riser, line, now)

    def _status(self, line: Line, raw: bytes, now: int) -> None:
        lasts = ABNORMAL if raw[0] & 3 == 3 else 0
        lasts |= BATTERY if raw[0] & 4 else 0
        lasts |= self._bits.get(line.profile.name, NOTHING).of(raw[1]) if len(raw) > 1 else 0
        known = self._known.get(line.device_id, _Known())
        self._note(line.device_id, _Known(lasts, known.counts), lasts & ~known.lasts, now)

    # --- counters of DL/T 645-2007 ------------------------------------------------------------------------

    def _look(self, riser: Riser, line: Line, now: int) -> None:
        """Ask for everything that the meter did not say it lacks of late, one question after the other."""
        if now - self._anew.setdefault(line.device_id, now) >= ANEW:
            self._anew[line.device_id] = now
            self._lacks.pop(line.device_id, None)
            self._quiet.pop(line.device_id, None)
        lacks = self._lacks.setdefault(line.device_id, set())
        quiet = self._quiet.setdefault(line.device_id, {})
        known = self._known.get(line.device_id, _Known())
        counts, lasts = list(known.counts), known.lasts & ~BATTERY
        asked = [di for di in (*(row[0] for row in COUNTERS), STATUS_WORD) if di not in lacks]

        def hear(di: int) -> Callable[[Frame | None, int], None]:
            def answered(frame: Frame | None, now: int) -> None:
                nonlocal lasts
                if frame is None:
                    silent = line.failures > 0
                    quiet[di] = quiet.get(di, 0) + 1 if silent else SILENCES
                    if quiet[di] >= SILENCES:
                        lacks.add(di)
                    if silent:
                        riser.hurry(line.device_id)  # is it there at all? Then the next question is asked
                elif di == STATUS_WORD:
                    lasts |= BATTERY if frame.data[4:5] and frame.data[4] & BATTERY_BITS else 0
                else:
                    place = next(at for at, row in enumerate(COUNTERS) if row[0] == di)
                    value = interpret(frame).readings.get(COUNTERS[place][1])
                    if value is not None and value.register is not None:
                        counts[place] = value.register
                if di == asked[-1]:
                    self._counted(line.device_id, _Known(lasts, tuple(counts)), now)

            return answered

        for di in asked:
            request = line.ask(Ask(kind="read", di=di))
            riser.want(line.device_id, Wanted(lambda _, said=request: said, hear(di), once=True))  # type: ignore[misc]  # a default has no type

    def _counted(self, device_id: bytes, after: _Known, now: int) -> None:
        before = self._known.get(device_id, _Known())
        moved = 0
        for (_, _, bit), was, has in zip(COUNTERS, before.counts, after.counts, strict=True):
            # Who opens a meter may clear its counters too: one that fell says as much as one that rose.
            moved |= bit if UNKNOWN not in (was, has) and has != was else 0
        self._note(device_id, after, moved | after.lasts & ~before.lasts, now)

    # --- what is told -------------------------------------------------------------------------------------

    def _note(self, device_id: bytes, known: _Known, new: int, now: int) -> None:
        """Remember, in one write with what is told."""
        if known == self._known.get(device_id, _Known()):
            return
        name = self._names.get(device_id) or self._free()
        page = (
            device_id
            + known.lasts.to_bytes(2, "big")
            + b"".join(one.to_bytes(_COUNT, "big") for one in known.counts)
        )
        if new:
            frame = encode.alarm_report(
                device_id, new.to_bytes(2, "big"), now, utc_offset_minutes=self._offset
            )
            if not self._held.hold([frame], now, beside={name: page}):
                return
            self.told += 1
        else:
            self._store.write({name: page})
        self._known[device_id], self._names[device_id] = known, name

    def _free(self) -> str:
        taken = set(self._names.values())
        return next(name for number in range(len(taken) + 1) if (name := f"{SEEN}n{number}") not in taken)
