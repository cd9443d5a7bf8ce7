"""Station VEE, what rules may know beside the registers: one frozen struct, gathered by those who have a store.

It looks nothing up. Whatever is not known is absent, and the rules that want it then object to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from meterseal.mdms.store.rows import EVER
from meterseal.model import Medium, off_for_sure

HOUR = 3_600_000
DAY = 24 * HOUR
OFFSET = 8 * HOUR
"""Asia/Shanghai; local days begin at (t + OFFSET) % DAY == 0."""

Ints = NDArray[np.int64]


class Calendar(Struct, frozen=True):
    """Kinds of local days (days since 1970) from `first` on: 0 Monday to 6 Sunday; a holiday is a Sunday."""

    first: int = 0
    kinds: tuple[int, ...] = ()

    def of(self, days: Ints) -> Ints:
        """The kind of each day; beyond the table the weekday alone."""
        kinds = (days + 3) % 7  # 1970-01-01 was a Thursday
        if self.kinds:
            at = days - self.first
            known = (at >= 0) & (at < len(self.kinds))
            kinds = np.where(known, np.array(self.kinds)[np.clip(at, 0, len(self.kinds) - 1)], kinds)
        return kinds


class Weather(Struct, frozen=True):
    """Mean outdoor temperature in degC of each hour from `first` (hours since 1970, UTC) on."""

    first: int = 0
    degrees: tuple[float, ...] = ()

    def days(self, days: Ints, offset: int) -> NDArray[np.float64]:
        """Mean of each local day, NaN where an hour of it is not known."""
        hours = days[:, None] * 24 - offset // HOUR + np.arange(24) - self.first
        if not self.degrees:
            return np.full(len(days), np.nan)
        known = (hours >= 0) & (hours < len(self.degrees))
        found = np.where(known, np.array(self.degrees)[np.clip(hours, 0, len(self.degrees) - 1)], np.nan)
        return np.asarray(found.mean(axis=1), np.float64)


class Heating(Struct, frozen=True):
    """Is it a day of heating? 1 yes, 0 no, -1 not known, of local days from `first` on; `channels` are those that heat
    with it.
    """

    first: int = 0
    on: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()


class Period(Struct, frozen=True):
    """Something of a channel that held in since <= t < until."""

    channel: int
    since: int
    until: int = EVER


class Multiplied(Struct, frozen=True):
    """What use of a channel in since <= t < until is multiplied by: factor * 10**-places."""

    channel: int
    since: int
    until: int
    factor: int
    places: int = 0


class Size(Struct, frozen=True):
    """Thousandths of the unit an hour that pass the connection of a channel at most, in since <= t < until; of a channel of
    what was fed in, what the plant makes.
    """

    channel: int
    thousandths: int
    since: int = 0
    until: int = EVER


class Event(Struct, frozen=True):
    """What a meter reported of itself: magnet, removed, reverse, fault, battery (`headend.meteralarms`)."""

    channel: int
    at: int
    kind: str


class Clocked(Struct, frozen=True):
    """A meter's clock led by `least` to `most` ms, negative where it lagged: since < t <= until, by its own instants as by
    true ones. `stamps`: the readings stand at its times.
    """

    channel: int
    since: int
    until: int
    least: int
    most: int
    stamps: bool = True

    @property
    def off(self) -> int:
        """By how much for sure: 0 where it may be right."""
        return off_for_sure(self.least, self.most)

    @property
    def reach(self) -> tuple[int, int]:
        """What a clock that is off by that can have stamped in its time: since < t <= until."""
        until = EVER if self.until >= EVER else self.until + max(self.most, 0)
        return self.since + min(self.least, 0), until


class Main(Struct, frozen=True):
    """A main meter and the sub-meters behind it in since <= t < until. `fed`: of these (channel of use, channel of what was
    fed in) where there is one.
    """

    channel: int
    subs: tuple[int, ...]
    since: int = 0
    until: int = EVER
    fed: tuple[tuple[int, int], ...] = ()

    @property
    def channels(self) -> tuple[int, ...]:
        """All of them."""
        return (self.channel, *self.subs, *(export for _, export in self.fed))


class Warmth(NamedTuple):
    """The water of a heat meter on a local day: mean spread (K), mean of supply and return (degC), from so many hours.

    The mean is known to `within` K. `slight` K of it, whatever their sign, come from spreads so small that a meter need
    not count them.
    """

    spread: float
    degrees: float
    samples: int
    within: float = 0.0
    slight: float = 0.0


class Balance(Struct, frozen=True):
    """A heat meter's energy and volume, and its water by local day from `first` on, None where nothing is known of it.

    `kwh` and `m3` are what one of each unit of the two channels is, by the numbers of their words; others are not known.
    """

    energy: int
    volume: int
    first: int = 0
    water: tuple[Warmth | None, ...] = ()
    kwh: Mapping[int, float] = MappingProxyType({})
    m3: Mapping[int, float] = MappingProxyType({})

    def of(self, day: int) -> Warmth | None:
        """The water of a local day."""
        return self.water[day - self.first] if 0 <= day - self.first < len(self.water) else None


class Context(Struct, frozen=True):
    """Everything of one medium and one class of customer; channels are numbered as in the columns.

    `interval` ms is the promise of the load profile, `digits` how many a register has before it begins anew,
    `carries` thousandths of the unit an hour that pass the connection at most where `sizes` does not say it. `exports` are
    the channels of what was fed in, which most rules have no meaning for.
    """

    medium: Medium = "water"
    customer: str = "dwelling"
    interval: int = HOUR
    offset: int = OFFSET
    digits: int = 8
    carries: int = 0
    calendar: Calendar = Calendar()
    weather: Weather = Weather()
    heating: Heating = Heating()
    sizes: tuple[Size, ...] = ()
    vacancies: tuple[Period, ...] = ()
    multipliers: tuple[Multiplied, ...] = ()
    events: tuple[Event, ...] = ()
    clocks: tuple[Clocked, ...] = ()
    mains: tuple[Main, ...] = ()
    balances: tuple[Balance, ...] = ()
    exports: tuple[int, ...] = ()

    @property
    def carried(self) -> int:
        """What a connection of this medium and class carries, unless it is known better."""
        return self.carries or CARRIES[self.customer, self.medium]

    def pick(self, channels: Sequence[int]) -> Context:
        """The same about these channels, numbered anew in this order; a group that is not whole is left out."""
        new = {old: k for k, old in enumerate(channels)}
        return replace(
            self,
            heating=replace(self.heating, channels=_numbers(self.heating.channels, new)),
            sizes=tuple(replace(s, channel=new[s.channel]) for s in self.sizes if s.channel in new),
            vacancies=_renumbered(self.vacancies, new),
            multipliers=tuple(
                replace(m, channel=new[m.channel]) for m in self.multipliers if m.channel in new
            ),
            events=tuple(replace(e, channel=new[e.channel]) for e in self.events if e.channel in new),
            clocks=tuple(replace(c, channel=new[c.channel]) for c in self.clocks if c.channel in new),
            mains=tuple(
                replace(
                    main,
                    channel=new[main.channel],
                    subs=_numbers(main.subs, new),
                    fed=tuple((new[used], new[export]) for used, export in main.fed),
                )
                for main in self.mains
                if all(channel in new for channel in main.channels)
            ),
            balances=tuple(
                replace(one, energy=new[one.energy], volume=new[one.volume])
                for one in self.balances
                if one.energy in new and one.volume in new
            ),
            exports=_numbers(self.exports, new),
        )

    @property
    def together(self) -> tuple[tuple[int, ...], ...]:
        """Channels that must be looked at together."""
        return (
            *(main.channels for main in self.mains),
            *((one.energy, one.volume) for one in self.balances),
        )


def _numbers(channels: tuple[int, ...], new: dict[int, int]) -> tuple[int, ...]:
    return tuple(new[channel] for channel in channels if channel in new)


def _renumbered(periods: tuple[Period, ...], new: dict[int, int]) -> tuple[Period, ...]:
    return tuple(replace(one, channel=new[one.channel]) for one in periods if one.channel in new)


CLASSES = ("dwelling", "business")
CARRIES: dict[tuple[str, Medium], int] = {
    # What a dwelling's meter passes at most: DN 20 water, G4 gas, a 40 kW heat exchanger, 60 A.
    ("dwelling", "water"): 5_000,
    ("dwelling", "gas"): 6_000,
    ("dwelling", "heat"): 40_000,
    ("dwelling", "electricity"): 14_000,
    # DN 50, G25, a 400 kW exchanger, three phases of 100 A.
    ("business", "water"): 30_000,
    ("business", "gas"): 40_000,
    ("business", "heat"): 400_000,
    ("business", "electricity"): 66_000,
}
"""Thousandths of the unit an hour that pass a connection at most, by class and medium."""
