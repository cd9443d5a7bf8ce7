"""The module when the supply goes away in the middle of a write: no counter, sequence or command twice."""

from __future__ import annotations

import pytest

from meterseal.edge.chip import Chip
from meterseal.edge.nv import MemoryNv
from meterseal.link import evidence
from meterseal.wire import encode
from tests.crypto.pki import NOW
from tests.edge.platform import Platform, shake_hands
from tests.edge.test_module import HOUR, MODULE, WATER, freeze, powered, report


class PowerCut(Exception):
    """The supply went away in the middle of a write."""


class CutStore(MemoryNv):
    """Memory that loses power at write number `cut`, before or after it took effect."""

    def __init__(self, cut: int | None = None, *, after: bool = False) -> None:
        super().__init__()
        self.writes, self.cut, self.after = 0, cut, after

    def write(self, pages) -> None:  # type: ignore[no-untyped-def]
        self.writes += 1
        if self.writes == self.cut:
            if self.after:
                super().write(pages)
            raise PowerCut
        super().write(pages)


def test_power_lost_after_a_command_number_was_stored_does_not_act_twice() -> None:
    store, platform = CutStore(), Platform()
    chip, _ = platform.module(WATER, MODULE, store=store)
    shake_hands(platform, chip)
    close = encode.valve_request(WATER, opened=False)
    store.cut, store.after = store.writes + 1, True
    with pytest.raises(PowerCut):
        chip.open(platform.command(WATER, close, 1, NOW + HOUR), NOW)
    again = powered(store).open(platform.command(WATER, close, 1, NOW + HOUR), NOW)
    assert (again.number, again.frames, again.answer) == (1, (), b"")


def _work(
    chip: Chip, platform: Platform, used: list[tuple[bytes, int]], signed: list[bytes], first: int
) -> None:
    """A stretch of ordinary life that touches every kind of write."""
    shake_hands(platform, chip)
    for number in range(first, first + 3):
        for _ in range(30):
            sealed = chip.seal(report(), NOW)
            used.append((sealed.session_id, sealed.counter))
            (ack,) = platform.receive(sealed.record)
            chip.open(ack, NOW)
        sequence = chip.sign(freeze(number))
        sealed = chip.seal_evidence(1, sequence, NOW)
        used.append((sealed.session_id, sealed.counter))
        (ack,) = platform.receive(sealed.record)
        signed.append(platform.statements[-1][0])
        chip.open(ack, NOW)
    chip.open(platform.command(WATER, encode.valve_request(WATER, opened=False), first, NOW + HOUR), NOW)
    chip.keep_answer(first, b"done")


def _writes_of_one_life() -> int:
    store, platform = CutStore(), Platform()
    chip, _ = platform.module(WATER, MODULE, 2, store=store)
    _work(chip, platform, [], [], 1)
    return store.writes


WRITES = 102


def test_the_cut_search_covers_every_write() -> None:
    assert _writes_of_one_life() == WRITES


@pytest.mark.parametrize("after", [False, True])
def test_power_cut_at_every_write_repeats_no_counter_and_no_sequence(after: bool) -> None:
    for cut in range(3, WRITES + 1):
        store, platform = CutStore(cut, after=after), Platform()
        used: list[tuple[bytes, int]] = []
        signed: list[bytes] = []
        chip, _ = platform.module(WATER, MODULE, 2, store=store)
        with pytest.raises(PowerCut):
            _work(chip, platform, used, signed, 1)
        chip = powered(store)
        state = chip.state()
        if state.session_id:  # the session outlived the cut: go on in it, above whatever was used
            sealed = chip.seal(report(), NOW)
            used.append((sealed.session_id, sealed.counter))
        for kept in state.kept:
            sealed = chip.seal_evidence(kept.channel, kept.sequence, NOW) if state.session_id else None
            if sealed is not None:
                used.append((sealed.session_id, sealed.counter))
                platform.receive(sealed.record)
                signed.append(platform.statements[-1][0])
        reached = (state.chained.get(1, NOW) - NOW) // HOUR
        _work(chip, platform, used, signed, max(reached, state.command_number) + 1)
        assert len(used) == len(set(used)), f"cut at write {cut}"
        by_sequence = {evidence.unpack(one).sequence: one for one in signed}
        assert len(by_sequence) == len(set(signed)), f"two statements under one sequence, cut at {cut}"
