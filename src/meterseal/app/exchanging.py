"""The operator's desk for changes of meters: exchanged for another, taken out, put in, moved to another usage point.

It reads no meter: what an installer read is written down with who says so. It asks the security service for the new
module's keys and for the end of the old one's, tells the measurements where readings belong from then on, and ends what
was still to be said to the meter that went. Everything is checked before anything is changed, and asking again completes
what was cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from meterseal.app import enrolment
from meterseal.app.listing import Listing, left_behind, listings
from meterseal.control import read, write
from meterseal.control.rings import BILLS, FLEET
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import concentrators, meter_changes
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.link.profiles import OURS
from meterseal.mdms import plants
from meterseal.mdms.multipliers import NOTHING, ONE, factor_at
from meterseal.mdms.service import Mdms
from meterseal.mdms.vee.channel import ReadOff
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.model import MAIN, Quality, medium_of
from meterseal.security.messages import Personalisation, PersonaliseRequest
from meterseal.security.sdk import SecuritySdk
from meterseal.things.exchange import (
    Known,
    MeterChange,
    Stated,
    changes,
    check_change,
    known,
    read_off,
    write_change,
)
from meterseal.things.fleet import Installation
from meterseal.things.words import DownWords, State, passed_to
from meterseal.utility.exchange import check_meets
from meterseal.utility.readings import ROLL_OVER, usable
from meterseal.wire.profile import no_model, profiles

LOOK_BACK = 40 * 86_400_000
"""How far back a stored register is looked for to hold the installer's against (ms)."""
LATE = 3_600_000
"""An installer's clock may be off by so much (ms)."""
_ENDED: dict[State, State] = {"waiting": "withdrawn", "sent": "unknown"}
"""What becomes of words to a meter that went: one that was sent may have taken effect."""
MOST_TEXT = 200
MOST_DECIMALS = 4
MOST_REGISTER = Decimal(10**8)


def read_off_meters(engine: sa.Engine, keys: KeyRing, usage_point: str) -> dict[int, ReadOff]:
    """What installers read at a usage point, as the estimates of measurements meet it. `keys` seal bills."""
    with read(engine) as connection:
        return {at: ReadOff(*said) for at, said in read_off(connection, keys, usage_point).items()}


class NewMeter(Struct, frozen=True, kw_only=True):
    """What is to be known of the meter that comes; what is empty is as it was, or as that of the meter that went.

    `model` names a file of `wire/profiles`. A module is named by `module_id` and its public point (65 bytes).
    """

    model: str = ""
    concentrator_id: bytes = b""
    riser: int | None = None
    suite: int = 1
    module_id: bytes = b""
    module_point: bytes = b""
    security_profile: str = OURS.name


class ChangeMeter(Struct, frozen=True, kw_only=True):
    """One change. Both ids: exchanged; the first alone: taken out; the second alone: put in at a vacant `usage_point`.

    The same id twice moves a meter to `usage_point`. `last` and `first` are registers as the meters show them, in the
    unit they are billed in; `last_export` and `first_export` those of what was fed in, where a plant is stated.
    `withdraw`: the old module never comes back; else the meter lies in stock. `counted_on`: it is known that the old meter
    counted after it was taken out, as on a test bench.
    """

    removed: bytes = b""
    installed: bytes = b""
    usage_point: str = ""
    at: int
    last: str = ""
    first: str = ""
    last_export: str = ""
    first_export: str = ""
    reason: str
    installer: str
    new: NewMeter = NewMeter()
    withdraw: bool = False
    counted_on: bool = False


class Changed(Struct, frozen=True, kw_only=True):
    """The usage points, which stay; what the new module is given (msgpack, empty without one); and what followed.

    `taken_back`: readings that the old meter had sent of later times. `words_ended`: what was still to be said to it.
    """

    left: str = ""
    came: str = ""
    personalisation: bytes = b""
    taken_back: int = 0
    words_ended: int = 0
    multiplier: str = ""
    """What use was multiplied by until then, if that ended with the old meter."""
    roster: tuple[Listing, ...] = ()
    """What the concentrators are to be told, in an officer's words: nobody else changes their lists."""


class ExchangeDesk:
    """Changes of meters, from the command line."""

    def __init__(
        self,
        *,
        engine: sa.Engine,
        security: SecuritySdk,
        mdms: Mdms,
        words: DownWords,
        rings: dict[str, KeyRing],
        clock: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._security = security
        self._mdms = mdms
        self._words = words
        self._rings = rings
        self._clock = clock

    def methods(self) -> Methods:
        """What the Unix socket serves of it."""
        return offered_to(OPERATOR, {"change_meter": (self.change_meter, ChangeMeter)})

    async def change_meter(self, _: str, asked: ChangeMeter) -> Changed:
        """Write a change down and do what follows from it. Repeating it with the same words completes what was cut off.

        DataError `fleet.*` (see `things.exchange`), `fleet.counted-on`, `bill.registers-apart`; LocalError `use.change`,
        `use.register`, `use.module`, `use.model`, `use.concentrator`; and what the security service refuses.
        """
        _check_words(asked)
        now = self._clock()
        with read(self._engine) as connection:
            old = known(connection, asked.removed, self._rings[FLEET]) if asked.removed else None
            new = known(connection, asked.installed, self._rings[FLEET]) if asked.installed else None
            installation = self._installation(connection, asked, old, new) if asked.installed else None
            steps = self._steps(asked, old, installation, now)
            written = self._written(connection, steps)
            if not written and len(steps) == 1:
                check_change(connection, *steps[0])
        if not written:
            self._check_fed(steps)
            self._check_last(asked, old)
            self._check_stopped(asked, old, now)
        given = await self._personalise(asked)
        if installation is not None and given is not None:
            installation = replace(installation, project=given.project_id)
        if not written:
            with write(self._engine) as connection:
                for step, what in self._steps(asked, old, installation, now):
                    write_change(connection, step, what, self._rings, OPERATOR)
        recorded = written[0].recorded_at if written else now
        return await self._follow(asked, old, steps, given, recorded, again=bool(written))

    def _steps(
        self, asked: ChangeMeter, old: Known | None, new: Installation | None, now: int
    ) -> list[tuple[MeterChange, Installation | None]]:
        """The change, or the two of a move."""
        moved = bool(asked.removed) and asked.removed == asked.installed
        said = Stated(
            last=_register(asked.last, "last") if asked.removed else None,
            first=_register(asked.last if moved else asked.first, "first") if asked.installed else None,
            reason=asked.reason,
            installer=asked.installer,
            last_export=_export(asked.last_export) if asked.removed else None,
            first_export=_export(asked.last_export if moved else asked.first_export)
            if asked.installed
            else None,
        )
        if asked.removed and old is None:
            raise DataError(
                "fleet.unknown",
                f"No device {asked.removed.hex()} is in place; nothing was changed. See: meterseal device list",
            )
        out = self._left(asked, old) if old is not None else asked.usage_point
        whole = MeterChange(
            usage_point=out,
            at=asked.at,
            removed=asked.removed or None,
            installed=asked.installed or None,
            recorded_at=now,
            stated=said,
        )
        if not moved:
            return [(whole, new)]
        return [
            (replace(whole, installed=None, stated=replace(said, first=None, first_export=None)), None),
            (
                replace(
                    whole,
                    usage_point=asked.usage_point,
                    removed=None,
                    stated=replace(said, last=None, last_export=None),
                ),
                new,
            ),
        ]

    def _left(self, asked: ChangeMeter, old: Known) -> str:
        """The usage point that the old meter left: a move that was written already has it elsewhere now."""
        with read(self._engine) as connection:
            row = connection.execute(
                sa.select(meter_changes.c.usage_point_id).where(
                    meter_changes.c.at == asked.at, meter_changes.c.removed == asked.removed
                )
            ).first()
        return row.usage_point_id if row is not None else old.usage_point

    def _written(
        self, connection: sa.Connection, steps: list[tuple[MeterChange, Installation | None]]
    ) -> list[MeterChange]:
        """The changes that these repeat; none unless all of them are there."""
        found = []
        for step, _ in steps:
            there = changes(connection, self._rings[BILLS], step.usage_point).get(step.usage_point, ())
            found += [one for one in there if one.says_the_same(step)]
        return found if len(found) == len(steps) else []

    def _installation(
        self, connection: sa.Connection, asked: ChangeMeter, old: Known | None, new: Known | None
    ) -> Installation:
        """What is put in: as it was in stock, else like the meter that went, and what was said of it before all."""
        like = new or old
        said = asked.new
        model = said.model or (like.installation.profile if like else "")
        medium = medium_of(asked.installed) or (like.installation.medium if like else None)
        if model and model not in profiles():
            raise LocalError("use.model", f"{no_model(model)}. Nothing was changed.")
        if not model or medium is None:
            raise LocalError(
                "use.model",
                f"Say the model of {asked.installed.hex()}: one of `meterseal device models`. Nothing was changed.",
            )
        behind = said.concentrator_id or next(
            (one.installation.concentrator_id for one in (old, new) if one is not None), b""
        )
        if (
            behind
            and not connection.execute(
                sa.select(concentrators.c.device_id).where(concentrators.c.device_id == behind)
            ).first()
        ):
            raise LocalError(
                "use.concentrator", f"No concentrator {behind.hex()} is enrolled; nothing was changed."
            )
        kept = new.installation if new is not None and not said.module_id else None
        suite = said.suite if said.module_id else (kept.suite if kept else None)
        if suite is None and not behind:
            raise LocalError(
                "use.concentrator",
                f"{asked.installed.hex()} has no module, so a concentrator must vouch for it: name it. "
                "Nothing was changed.",
            )
        riser = like.installation.riser if like is not None else None
        return Installation(
            device_id=asked.installed,
            medium=medium,
            protocol="dlt645" if medium == "electricity" else "cjt188",
            profile=model,
            since=asked.at,
            concentrator_id=behind,
            riser=said.riser if said.riser is not None else riser,
            suite=suite,
            module_id=said.module_id or (kept.module_id if kept else b""),
            project=kept.project if kept else b"",
        )

    def _check_fed(self, steps: list[tuple[MeterChange, Installation | None]]) -> None:
        """Where a plant is stated the registers of what was fed in are read too: no bill could count across the change."""
        for step, _ in steps:
            with read(self._engine) as connection:
                fed = plants.stated(connection, step.usage_point).get(step.usage_point, ())
            said = step.stated
            lacks = (step.removed and said.last_export is None) or (
                step.installed and said.first_export is None
            )
            if lacks and any(one.since <= step.at <= one.until for one in fed):
                raise LocalError(
                    "use.register",
                    f"A plant is stated at {step.usage_point}: say as well what the registers of fed-in energy showed "
                    "(--last-export, --first-export). Nothing was changed.",
                )

    def _check_last(self, asked: ChangeMeter, old: Known | None) -> None:
        """The last register meets what the meter itself said before, or else what it was put in with."""
        if old is None:
            return
        medium, since = old.installation.medium, max(old.installation.since, asked.at - LOOK_BACK)
        stored = usable(self._mdms.registers(old.usage_point, MAIN, since, asked.at - 1), medium)
        before = None
        if len(stored.end_at):
            before = int(stored.end_at[-1]), stored.value(int(stored.register[-1]))
        else:
            with read(self._engine) as connection:
                found = changes(connection, self._rings[BILLS], old.usage_point).get(old.usage_point, ())
            for one in found:
                if one.installed == asked.removed and one.stated.first is not None:
                    before = one.at, one.stated.first
        if before is not None:
            last = asked.at, _register(asked.last, "last")
            check_meets(medium, asked.removed.hex(), before, last, stored.value(ROLL_OVER))

    def _check_stopped(self, asked: ChangeMeter, old: Known | None, now: int) -> None:
        """A meter that was taken out counts no more. What it says up to `LATE` after that is put down to clocks."""
        if old is None or asked.removed == asked.installed or asked.counted_on:
            return
        stored = self._mdms.registers(old.usage_point, MAIN, asked.at + LATE, now)
        said = stored.register[stored.quality == Quality.MEASURED]
        if len(said) and said[0] != said[-1]:
            raise DataError(
                "fleet.counted-on",
                f"Meter {asked.removed.hex()} counted on after the time that is given, by its own readings, and they would "
                "be taken back. Correct the time; if it was on a test bench, say that it counted on. Nothing was changed.",
            )

    async def _personalise(self, asked: ChangeMeter) -> Personalisation | None:
        said = asked.new
        if not said.module_id:
            return None
        request = PersonaliseRequest(
            device_id=asked.installed,
            module_id=said.module_id,
            suite=said.suite,
            module_point=said.module_point,
            profile=said.security_profile,
        )
        (given,) = await self._security.personalise_batch([request])
        return given

    async def _follow(
        self,
        asked: ChangeMeter,
        old: Known | None,
        steps: list[tuple[MeterChange, Installation | None]],
        given: Personalisation | None,
        recorded_at: int,
        *,
        again: bool,
    ) -> Changed:
        left = next((step.usage_point for step, _ in steps if step.removed), "")
        came = next((step.usage_point for step, _ in steps if step.installed), "")
        taken_back = ended = 0
        self._mdms.meters_changed()
        if left:
            taken_back = await self._mdms.meter_left(left, asked.at, recorded_at)
        new = next((what for _, what in steps if what is not None), None)
        by = left_behind(asked.removed, old, new)
        if left:
            gone = self._words.opened(asked.removed) if asked.removed != asked.installed else []
            if by:
                gone += [one for one in self._words.opened(by) if passed_to(one[-1]) == asked.removed]
            for was, becomes in _ENDED.items():
                self._words.end([word_id for word_id, state, *_ in gone if state == was], becomes)
            ended = len(gone)
        if asked.withdraw and old is not None and old.installation.module_id:
            try:
                await self._security.withdraw(asked.removed, old.installation.module_id)
            except TrustError as error:
                if not (again and error.code == "security.not-enrolled"):
                    raise
        return Changed(
            left=left,
            came=came,
            personalisation=msgspec.msgpack.encode(given) if given is not None else b"",
            taken_back=taken_back,
            words_ended=ended,
            multiplier=self._ended(left, asked.at) if left else "",
            roster=tuple(listings(asked.removed, old, new)),
        )

    def _ended(self, usage_point: str, at: int) -> str:
        of = self._mdms.multipliers()[1].get(usage_point, NOTHING).factors
        before = factor_at(of, at - 1)
        return f"{before:f}" if before != ONE and before != factor_at(of, at) else ""


def _check_words(asked: ChangeMeter) -> None:
    """LocalError `use.change` or `use.module` for what no change is."""
    for device_id in (asked.removed, asked.installed):
        if device_id and len(device_id) != 8:
            raise LocalError("use.change", "A device id has 8 bytes. Correct it; nothing was changed.")
    if not asked.removed and not asked.installed:
        raise LocalError("use.change", "Name the meter that went, the one that came, or both.")
    moved = bool(asked.removed) and asked.removed == asked.installed
    if bool(asked.usage_point) != (moved or not asked.removed):
        raise LocalError(
            "use.change",
            "A usage point is named for a meter that is put in or moved there, and for no other. Nothing was changed.",
        )
    if moved and (asked.new.module_id or asked.withdraw):
        raise LocalError("use.change", "A meter that is moved keeps its module; nothing was changed.")
    for text in (asked.reason, asked.installer):
        if not 0 < len(text.strip()) <= MOST_TEXT:
            raise LocalError(
                "use.change", f"Say why, and who read the meters, in at most {MOST_TEXT} characters each."
            )
    if asked.new.module_id:
        enrolment.check_module(asked.installed, asked.new.module_id, asked.new.module_point)


def _export(text: str) -> Decimal | None:
    return _register(text, "export") if text else None


def _register(text: str, which: str) -> Decimal:
    """LocalError `use.register`."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(-1)
    exponent = value.as_tuple().exponent
    if (
        not isinstance(exponent, int)  # NaN and the infinities
        or not 0 <= value < MOST_REGISTER
        or not -MOST_DECIMALS <= exponent <= 0
    ):
        raise LocalError(
            "use.register",
            f"`{text}` is no {which} register: write what the meter shows, such as 1234.56, with at most "
            f"{MOST_DECIMALS} decimals. Nothing was changed.",
        )
    return value
