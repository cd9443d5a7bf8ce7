"""What meters raise the alarm about in their signed freezes becomes audit entries, one for each cause and day."""

from __future__ import annotations

import pytest

from meterseal.headend.meteralarms import KINDS, SAID, kinds, told
from meterseal.link.evidence import EvidenceStatement
from meterseal.mdms.vee.rules import RULES
from meterseal.model import BALANCE, Evidence, Opened
from meterseal.things.alarm import alarm_of

WATER = bytes.fromhex("1078330000000001")
END = 1_779_120_000_000


def opened(*statuses: int) -> Opened:
    evidence = tuple(
        Evidence(
            WATER,
            EvidenceStatement(WATER, 1, END + day, 5, -2, 0x2C, status, day + 1, bytes(32)).pack(),
            bytes(64),
        )
        for day, status in enumerate(statuses)
    )
    return Opened(b"session!", 7, WATER, b"module!!", 1, "sealed", END + 9, bytes(32), evidence=evidence)


@pytest.mark.parametrize("bit", sorted(SAID))
def test_each_bit_is_one_entry_at_the_end_of_its_day_and_has_an_alarm(bit: int) -> None:
    (entry,) = told(opened(0, bit), "concentrator 1")
    assert (entry.code, entry.at, entry.device_id) == (SAID[bit][0], END + 1, WATER)
    assert (entry.session_id, entry.counter, entry.source) == (b"session!", 7, "concentrator 1")
    assert SAID[bit][1] in entry.sentence
    assert alarm_of(entry.code) in ("tamper", "meter")


def test_a_valve_that_does_not_move_is_told_and_one_that_is_closed_is_not() -> None:
    assert [entry.code for entry in told(opened(0x0300), "")] == ["meter.valve"]
    assert told(opened(0x0100, 0x0400, 0x0000), "") == []


def test_the_end_of_credit_is_nobodys_alarm() -> None:
    assert told(opened(BALANCE), "") == []


def test_several_causes_of_one_day_are_several_entries() -> None:
    everything = sum(SAID) | BALANCE | 0x0300
    assert len(told(opened(everything), "")) == len(SAID) + 1


def test_whatever_a_statement_raises_is_looked_at_by_a_rule_and_no_rule_waits_for_anything_else() -> None:
    heard = [
        kind
        for rule in ("tamper", "device-flag")
        for kind in RULES[rule].defaults("dwelling", "water").kinds  # type: ignore[attr-defined]
    ]
    assert sorted(heard) == sorted(KINDS)
    assert set(KINDS) == {kind for bits in range(0x10000) for kind in kinds(bits)}


def test_a_low_battery_is_raised_by_its_bit() -> None:
    assert kinds(0x0400) == ["battery"]
    assert kinds(0x0100) == []
