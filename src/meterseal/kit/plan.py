"""Beside the path: the plan of a street that does not exist: dwellings, meters, people, agreements and
faults.

It enrols nothing and stores nothing; the same seed gives the same street. Names, addresses and numbers are
invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from random import Random
from typing import Final

from msgspec import Struct

from meterseal.errors import LocalError
from meterseal.kit import incidents
from meterseal.kit.chance import one
from meterseal.kit.incidents import Gap, Incident
from meterseal.kit.profiles import DAY, Profile, Registers
from meterseal.model import MEDIA, METER_TYPE, Medium
from meterseal.utility.calendar import local_day, midnight
from meterseal.wire.profile import Models, parse_profile, profiles
from meterseal.wire.profile import Profile as MeterModel

TARIFFS: Final[dict[Medium, str]] = {
    "water": "sample-cold-water-tiered",
    "gas": "sample-gas-tiered",
    "heat": "sample-heat-flat",
    "electricity": "sample-electricity-time-of-use",
}
FEED_IN_TARIFF = "sample-electricity-feed-in"
"""Of homes with panels whose meters say what was fed in."""
FIRST_TIER: Final[dict[Medium, int]] = {"water": 18_000, "gas": 35_000}
"""Where the first tier of the sample tariffs ends, in hundredths of m3."""
INITIAL: Final[dict[Medium, int]] = {"water": 31_000, "gas": 52_000, "heat": 410_000, "electricity": 640_000}
DRIFT = 5_000
"""Most by which an oscillator is off, parts per thousand million: half a second a day."""
OLDEST = 5 * 365
"""Days that the oldest meters of a street have hung there."""
DIGITS, SERIAL_DIGITS = 16, 5
"""Digits of a device id, and how many of them a street needs for its meters."""
SHORTEST = 35
"""Days of use that surely hold a whole billing month and the day before it."""


class MeterPlan(Struct, frozen=True):
    """One meter: identity, where it hangs, how it is used. `plain` meters have no module (`suite` 0).

    `drift` is its oscillator's error in parts per thousand million, `age` the days it hung there before the window;
    `battery_low` is one whose battery is at its end. `model` names its file under wire/profiles, "" for the generic one.
    One that `feeds` says what the panels fed in.
    """

    device_id: bytes
    module_id: bytes
    suite: int
    medium: Medium
    dwelling: int
    riser: int
    profile: Profile
    gaps: tuple[Gap, ...] = ()
    battery_low: bool = False
    drift: int = 0
    age: int = 0
    incidents: tuple[Incident, ...] = ()
    model: str = ""
    feeds: bool = False

    @property
    def plain(self) -> bool:
        return self.suite == 0

    @property
    def protocol(self) -> str:
        return "dlt645" if self.medium == "electricity" else "cjt188"


class AgreementPlan(Struct, frozen=True):
    """An agreement for one meter of a dwelling; it begins with the billing month that the window holds whole.

    `opening_accumulation` is what the year had used before `since`, in hundredths of the unit.
    """

    medium: Medium
    tariff_code: str
    since: int
    billing_day: int
    opening_accumulation: int


class Dwelling(Struct, frozen=True):
    """One flat: an invented customer at an invented address, and the agreements."""

    number: int
    customer: str
    address: str
    agreements: tuple[AgreementPlan, ...]


class StreetPlan(Struct, frozen=True):
    """The whole street. Registers count from `origin_at`; the window of delivered days is [since, until). `weather` is
    the seed of its weather, None for that of the street.
    """

    seed: int
    since: int
    until: int
    concentrator_id: bytes
    concentrator_module: bytes
    risers: int
    dwellings: tuple[Dwelling, ...]
    meters: tuple[MeterPlan, ...]
    weather: int | None = None
    own_models: tuple[str, ...] = ()
    """Data files (TOML) of models that the package does not have."""

    def models(self) -> dict[str, MeterModel]:
        """Every model by name, one of the street's own before the package's of the same name."""
        return _known(self.own_models)

    @property
    def origin_at(self) -> int:
        return self.since

    def registers(self, meter: MeterPlan) -> Registers:
        """What the meter's counting mechanism shows over the window."""
        return Registers(self.seed, meter.profile, self.until, self.weather)


_SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张"
_GIVEN = (
    "云帆",
    "晓岚",
    "子衿",
    "若溪",
    "明远",
    "思齐",
    "雨桐",
    "景行",
    "书瑶",
    "浩然",
    "静姝",
    "文博",
    "安歌",
    "一诺",
    "望舒",
    "知夏",
)
_ROAD = "梧桐里"


def make_plan(
    *,
    seed: int = 188,
    until: int,
    days: int = 40,
    dwellings: int = 60,
    risers: int = 12,
    tariffs: dict[Medium, str] | None = None,
    weather: int | None = None,
    models: Sequence[str] = (),
    own: Sequence[str] = (),
    solar: int = 0,
) -> StreetPlan:
    """The street of `dwellings` flats with four meters each, `days` local days of use that end at `until`.

    `until` (Unix ms) is rounded down to a local midnight; `weather` is the seed of the weather. With fewer than 35 days
    no whole billing month fits and the dwellings have no agreements. `models` are names of meter models, one of a medium
    at most; their numbers are such as the model is known by; `own` are data files of models that the package does not
    have. The first `solar` dwellings have panels on the roof and meters that say what was fed in.

    Raises LocalError `kit.plan` for a street that cannot be
    and `kit.models` for models that it cannot have.
    """
    if not 1 <= dwellings <= 9_999 or not 1 <= days <= 400 or risers < 1:
        raise LocalError(
            "kit.plan", "A street has 1 to 9999 dwellings, 1 to 400 days and at least one riser."
        )
    if not 0 <= solar <= dwellings:
        raise LocalError("kit.plan", "A street has at most as many homes with panels as dwellings.")
    last = local_day(until)
    until, since = midnight(last), midnight(last - timedelta(days=days))
    random = Random(seed)
    risers = min(risers, dwellings)
    empty = {number for number in range(dwellings) if random.random() < 0.04}
    stuck = random.randrange(dwellings)
    if len(empty | {stuck}) == dwellings:  # a street where nobody lives would show nothing
        empty, stuck = set(), -1
    shared = _Street(seed, since, until, random, weather, _chosen(models, _known(own)), solar)
    meters: list[MeterPlan] = []
    for number in range(dwellings):
        occupancy = 0 if number in empty or number == stuck else random.choice((1, 2, 2, 3, 3, 3, 4, 5))
        suite = 2 if number % 10 == 7 else 1
        for medium in MEDIA:
            meters.append(shared.meter(number, medium, occupancy, suite, number * risers // dwellings))
    if days >= SHORTEST:
        incidents.play(meters, stuck, random, since, until)
    homes = tuple(
        shared.dwelling(number, meters[4 * number : 4 * number + 4], tariffs or TARIFFS)
        for number in range(dwellings)
    )
    identity = 0x3101_0000_0000 + seed % 10_000 * 10
    return StreetPlan(
        seed=seed,
        since=since,
        until=until,
        concentrator_id=bytes((0xF0,)) + identity.to_bytes(7, "big"),
        concentrator_module=b"MS\xf0" + (seed % 65_536).to_bytes(2, "big") + b"\x00\x00\x01",
        risers=risers,
        dwellings=homes,
        meters=tuple(meters),
        weather=weather,
        own_models=tuple(own),
    )


def billing_starts(since: int, until: int) -> list[tuple[int, date]]:
    """Billing days (1..28) whose last whole month lies inside the window with a day to spare on either side.

    Each with the local date that month begins.
    """
    found = []
    for back in range(1, 10):
        end = local_day(until) - timedelta(days=back)
        begin = (end.replace(day=1) - timedelta(days=1)).replace(day=min(end.day, 28))
        if end.day <= 28 and midnight(begin) >= since + DAY:
            found.append((end.day, begin))
    return found


def _known(own: Sequence[str]) -> dict[str, MeterModel]:
    return Models(map(parse_profile, own), profiles().values()).by_name if own else profiles()


def _chosen(names: Sequence[str], known: dict[str, MeterModel]) -> dict[Medium, MeterModel]:
    """The models by medium. LocalError `kit.models`."""
    found = dict[Medium, MeterModel]()
    for name in names:
        model = known.get(name)
        if model is None:
            raise LocalError("kit.models", f"There is no meter model {name}. Known are: {', '.join(known)}.")
        if model.medium in found:
            raise LocalError(
                "kit.models",
                f"{name} and {found[model.medium].name} are both for {model.medium}; name one of them.",
            )
        if DIGITS - len(model.detect[0]) < SERIAL_DIGITS:
            raise LocalError(
                "kit.models",
                f"{name} is known by numbers that leave no room for a street; name another model.",
            )
        found[model.medium] = model
    return found


def _numbered(model: MeterModel, serial: int) -> bytes:
    """A device id by which the model is known, ending in the serial number."""
    lead = model.detect[0].replace("?", "0")
    if lead == "D7":
        lead = "D700"
    room = DIGITS - len(lead)
    return bytes.fromhex(lead + f"{serial:0{room}d}"[-room:])


class _Street:
    """The street's seed and window, for the makers of its parts."""

    def __init__(
        self,
        seed: int,
        since: int,
        until: int,
        random: Random,
        weather: int | None,
        models: dict[Medium, MeterModel],
        solar: int,
    ) -> None:
        self._seed, self._since, self._until, self._random = seed, since, until, random
        self._weather, self._models, self._solar = weather, models, solar

    def meter(self, number: int, medium: Medium, occupancy: int, suite: int, riser: int) -> MeterPlan:
        random = self._random
        serial = 20_260_000 + number * 4 + MEDIA.index(medium) + 1
        model = self._models.get(medium)
        device_id = self._number(medium, serial) if model is None else _numbered(model, serial % 10_000_000)
        initial = INITIAL[medium] + random.randrange(INITIAL[medium])
        module_id = (
            b"MS\x00" + (self._seed % 65_536).to_bytes(2, "big") + (serial % 10_000_000).to_bytes(3, "big")
        )
        return MeterPlan(
            device_id=device_id,
            module_id=module_id,
            suite=suite,
            medium=medium,
            dwelling=number,
            riser=riser,
            profile=Profile(
                medium, number, occupancy, self._since, initial, panel=self._panel(number, medium)
            ),
            battery_low=medium != "electricity" and random.random() < 0.01,
            drift=int((one(self._seed, 21, serial) - 0.5) * 2 * DRIFT),
            age=int(one(self._seed, 22, serial) * OLDEST),
            model="" if model is None else model.name,
            feeds=self._feeds(number, medium),
        )

    def _feeds(self, number: int, medium: Medium) -> bool:
        return medium == "electricity" and number < self._solar

    def _number(self, medium: Medium, serial: int) -> bytes:
        """The device id of a generic meter."""
        if medium == "electricity":
            return b"\xd7\x00" + bytes.fromhex(f"0031{serial:08d}")
        return bytes((METER_TYPE[medium],)) + bytes.fromhex(f"7833{self._seed % 100:02d}{serial:08d}")

    def _panel(self, number: int, medium: Medium) -> int:
        """Peak W of the panels on the roof of one flat in fifteen, and of those that were asked for."""
        lucky = medium == "electricity" and one(self._seed, 20, number) < 1 / 15
        if not lucky and not self._feeds(number, medium):
            return 0
        return 2_000 + int(one(self._seed, 23, number) * 30) * 100

    def dwelling(self, number: int, meters: Sequence[MeterPlan], tariffs: dict[Medium, str]) -> Dwelling:
        random = self._random
        choices = billing_starts(self._since, self._until)
        agreements: list[AgreementPlan] = []
        if choices:
            billing_day, begin = choices[random.randrange(len(choices))]
            agreements = [
                AgreementPlan(
                    medium=meter.medium,
                    tariff_code=FEED_IN_TARIFF if meter.feeds else tariffs[meter.medium],
                    since=midnight(begin),
                    billing_day=billing_day,
                    opening_accumulation=self._opening(meter, midnight(begin)),
                )
                for meter in meters
            ]
        name = random.choice(_SURNAMES) + random.choice(_GIVEN)
        room = 100 * (1 + number % 10 // 2) + 1 + number % 2
        address = f"{_ROAD} {1 + number // 20} 号楼 {1 + number % 20 // 10} 单元 {room} 室"
        return Dwelling(number, name, address, tuple(agreements))

    def _opening(self, meter: MeterPlan, since: int) -> int:
        """What the calendar year had used before; one household in three stands just below its next tier."""
        registers = Registers(self._seed, meter.profile, self._until, self._weather)
        month = registers.at(self._until) - registers.at(since)
        tier = FIRST_TIER.get(meter.medium)
        if tier is not None and meter.dwelling % 3 == 1:
            return max(0, tier - month // 2)
        begun = (local_day(since) - local_day(since).replace(month=1, day=1)).days
        return month * begun // 33
