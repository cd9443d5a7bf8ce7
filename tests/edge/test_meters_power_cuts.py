"""A meter when the supply goes away in the middle of a write: one input is one write, and every figure stays (HM-6.2.4,
HM-6.2.6, HM-6.3.1.5).

The life below touches every kind of input. It is lived once in one piece; then once more for each of its writes, cut there
before or after the write took effect, powered on again from memory, and gone on with. The transducer and the person at the
meter do not know of the cut: what it showed it shows, and what did not happen is done again.
"""

from __future__ import annotations

from functools import cache

import msgspec
import pytest

from meterseal.edge.chip import Chip
from meterseal.edge.delivery import METER, DailyOutbox
from meterseal.edge.gas import GasMeter
from meterseal.edge.meter import Meter, MeterState
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.design import DESIGNS
from meterseal.edge.metering.inputs import (
    BatteryIn,
    BatteryOut,
    ClockSet,
    DaysSet,
    Disturbed,
    FrozenNow,
    Input,
    Measured,
    Opened,
    Ordered,
    Prepaying,
    Pressed,
    Priced,
    Purchased,
)
from meterseal.edge.metering.state import registers
from meterseal.edge.water import WaterMeter
from tests.edge.platform import Platform
from tests.edge.test_power_cuts import CutStore, PowerCut

HOUR, DAY = 3_600_000, 86_400_000
AT = 1_779_033_600_000  # 2026-05-18 00:00 +08
GAS, WATER = bytes.fromhex("3078330011223344"), bytes.fromhex("1078330011223344")
UNIT = 1_000_000


def life() -> list[tuple[int, Input]]:
    """Two days by the hour, with something else happening in between."""
    between: dict[int, list[Input]] = {
        2: [Priced((300, 400, 500), (10, 20)), Purchased(1, 9_000), Prepaying()],
        5: [Ordered("close"), Ordered("open"), Pressed()],
        9: [Disturbed("static"), Opened(), Opened(open=False)],
        14: [BatteryOut(), BatteryIn()],
        15: [Ordered("open"), Pressed(), FrozenNow()],
        20: [Purchased(2, 1_000), ClockSet(AT + 20 * HOUR + 1_802_000)],
        30: [DaysSet(settlement=20), Ordered("close")],
    }
    script: list[tuple[int, Input]] = []
    for hour in range(1, 49):
        script.append((AT + hour * HOUR, Measured((hour * UNIT,))))
        script += [(AT + hour * HOUR + HOUR // 2, what) for what in between.get(hour, [])]
    return script


@cache
def module(device: bytes) -> Chip:
    """Its module, which is not cut here (`test_power_cuts` does that)."""
    return Platform().module(device, b"M" + device[1:], 2)[0]


def powered(kind: type[Meter], device: bytes, store: CutStore, fresh: MeterState) -> Meter:
    """The meter as it starts from its memory."""
    meter = kind(device, state=fresh)
    DailyOutbox(meter, module(device), store)
    return meter


def lived(kind: type[Meter], device: bytes, store: CutStore) -> Meter:
    """The whole life; a cut is answered by power and by doing again what had not happened."""
    fresh = born(DESIGNS[kind.medium], AT, (4_711,))
    meter = powered(kind, device, store, fresh)
    for now, what in life():
        before = meter.state
        try:
            meter.feed(what, now)
        except PowerCut:
            meter = powered(kind, device, store, fresh)
            store.cut = None
            if not store.after:
                assert meter.state == before
                meter.feed(what, now)
    return meter


@pytest.mark.parametrize(("kind", "device"), [(GasMeter, GAS), (WaterMeter, WATER)])
def test_a_cut_at_any_write_loses_and_doubles_nothing(kind: type[Meter], device: bytes) -> None:
    whole = CutStore()
    expected = lived(kind, device, whole).state
    assert whole.writes == len(life())  # one input, one write
    assert registers(expected, DESIGNS[kind.medium]) == (4_711 + 4_800,)
    for number in range(1, whole.writes + 1):
        for after in (False, True):
            store = CutStore(number, after=after)
            assert lived(kind, device, store).state == expected, (number, after)
            kept = store.read(METER)
            assert kept is not None
            assert msgspec.msgpack.decode(kept, type=MeterState) == expected


def test_nothing_comes_of_an_input_whose_write_failed() -> None:
    """HM-7.2.11 as well: a valve that opened without its write would be open and not know it."""
    store = CutStore()
    meter = powered(GasMeter, GAS, store, born(DESIGNS["gas"], AT))
    for what in (Ordered("close"), Ordered("open")):
        meter.feed(what, AT)
    store.cut = store.writes + 1
    with pytest.raises(PowerCut):
        meter.press_button(AT + 1)
    assert meter.state.valve == "closed"
    assert powered(GasMeter, GAS, store, born(DESIGNS["gas"], AT)).state.valve == "closed"
