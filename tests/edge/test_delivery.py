"""What a meter delivers of a day, and how old a day may be for its closing report."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from meterseal.edge.agent import Item
from meterseal.edge.delivery import REPORTED_FOR, DailyOutbox
from meterseal.edge.nv import MemoryNv
from meterseal.edge.water import WaterMeter
from meterseal.headend.saying import BACKLOG
from meterseal.model import MAIN
from meterseal.wire.frame import parse_frames
from meterseal.wire.meaning import interpret
from tests.edge.field import DAY, SINCE, Counting

WATER = bytes.fromhex("1078330011223301")


class Glass:
    """A chip that seals nothing: what it is given can be read."""

    def state(self) -> Any:
        return SimpleNamespace(chained={}, kept=())

    def sign(self, freeze: object) -> int:
        return 1

    def seal(self, frames: bytes, now: int) -> Any:
        return frames


@pytest.mark.parametrize(("age", "reports"), [(-DAY, 1), (0, 1), (REPORTED_FOR, 1), (REPORTED_FOR + 1, 0)])
def test_a_day_too_old_for_its_closing_report_goes_as_load_profile_alone(age: int, reports: int) -> None:
    """A single reading stands at its own clock for 35 days; later it would pass for one of today."""
    chip: Any = Glass()
    outbox = DailyOutbox(WaterMeter(WATER, Counting(WATER, 1)), chip, MemoryNv())
    end_at = SINCE + DAY
    body: Any = outbox.seal(Item(("day", end_at), end_at), chip, end_at + age)
    said = [interpret(frame) for frame in parse_frames(body)]
    assert [one.clock_at for one in said if one.interval is None] == [end_at] * reports
    blocks = [one.interval for one in said if one.interval is not None]
    assert [block.channel for block in blocks] == [MAIN, MAIN]
    assert sum(len(block.registers) for block in blocks) == 24
    assert REPORTED_FOR < BACKLOG
