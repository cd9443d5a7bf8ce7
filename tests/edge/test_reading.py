"""Reading on request: answers in pieces are joined, lies about pieces are no answer, and it comes to an end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from meterseal.edge.line import Line
from meterseal.edge.poll import Pace, Riser
from meterseal.edge.reading import MOST_PIECES, NAMED, identifiers, read_whole
from meterseal.errors import LocalError
from meterseal.wire.dlt645 import table, table1997
from meterseal.wire.frame import Frame, parse_frame

POWER, OTHER, WATER = (
    bytes.fromhex(one) for one in ("d700003100000004", "d700003100000005", "1078330000000001")
)
NOW = 1_791_735_600_000
DI = 0x03300801
MORE = 0x20
WHOLE = bytes(range(200)) * 3


def piece(request: Frame, *, size: int = 150) -> Frame:
    """What a meter that tells the truth says: the identifier, a piece, and behind the first its number."""
    number = request.data[4] if request.control == 0x12 else 0
    rest = WHOLE[number * size :]
    more = MORE if len(rest) > size else 0
    data = request.data[:4] + rest[:size] + (bytes((number,)) if number else b"")
    return Frame("dlt645", 0, request.address, request.control | 0x80 | more, data)


class Asked:
    """A riser with one meter, whose answers `say` gives; time passes with each exchange."""

    def __init__(self, say: Callable[[Frame], Frame | None], device: bytes = POWER) -> None:
        self.line = Line(device, plain=True)
        self.riser = Riser([self.line], Pace(answer=100, plain=10**9), lambda *_: None, lambda *_: None)
        self.line.due = NOW * 2
        self.say = say
        self.exchanges = 0
        self.heard: list[Frame | None] = []

    def read(self) -> Frame | None:
        read_whole(self.riser, self.line, DI, self.heard.append)
        now = NOW
        while not self.heard and self.exchanges < 200:
            now += 100
            raw = self.riser.request(now)
            if raw is None:
                continue
            self.exchanges += 1
            said = self.say(parse_frame(raw)[0])
            if said is None or not self.riser.answer(said.encode(), now):
                self.riser.timeout(now)
        (heard,) = self.heard
        return heard


def test_an_answer_in_four_pieces_is_one() -> None:
    asked = Asked(piece)
    found = asked.read()
    assert found is not None
    assert found.data == DI.to_bytes(4, "little") + WHOLE
    assert not found.control & MORE
    assert asked.exchanges == 4


def _endless(request: Frame) -> Frame:
    number = bytes((request.data[4],)) if request.control == 0x12 else b""
    data = request.data[:4] + bytes(9) + number
    return Frame("dlt645", 0, request.address, request.control | 0x80 | MORE, data)


LIES: dict[str, Callable[[Frame], Frame | None]] = {
    "endless": _endless,
    "another number": lambda asked: (
        replace(piece(asked), data=piece(asked).data[:-1] + b"\x09")
        if asked.control == 0x12
        else piece(asked)
    ),
    "always the first piece": lambda asked: piece(replace(asked, control=0x11)),
    "another identifier in a piece": lambda asked: (
        replace(piece(asked), data=bytes(4) + piece(asked).data[4:])
        if asked.control == 0x12
        else piece(asked)
    ),
    "another meter's piece": lambda asked: (
        replace(piece(asked), address=OTHER[:1:-1]) if asked.control == 0x12 else piece(asked)
    ),
    "a piece that is refused": lambda asked: (
        replace(piece(asked), control=0xD2, data=b"\x01") if asked.control == 0x12 else piece(asked)
    ),
    "silence after the first": lambda asked: None if asked.control == 0x12 else piece(asked),
    "no data in a piece": lambda asked: (
        replace(piece(asked), data=b"") if asked.control == 0x12 else piece(asked)
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_who_lies_about_its_pieces_has_said_nothing_and_holds_nobody_up(lie: str) -> None:
    asked = Asked(LIES[lie])
    assert asked.read() is None
    assert asked.exchanges <= MOST_PIECES + 3
    assert not asked.line.wanted


def test_a_question_that_comes_while_another_is_out_gets_its_own_answer() -> None:
    asked = Asked(piece)
    late: list[Frame | None] = []
    raw = None
    read_whole(asked.riser, asked.line, 0x00010000, asked.heard.append)
    raw = asked.riser.request(NOW)
    assert raw is not None
    read_whole(asked.riser, asked.line, 0x00020000, late.append)  # in a hurry, too
    assert asked.riser.answer(piece(parse_frame(raw)[0], size=200).encode(), NOW) is True
    assert late == []
    assert asked.riser.request(NOW) is not None


def test_every_identifier_of_a_name_is_in_the_table_of_its_edition() -> None:
    for edition, lookup in (("2007", table.lookup), ("1997", table1997.lookup)):
        for what, named in NAMED[edition].items():
            assert all(lookup(di) is not None for di in named), (edition, what)


def test_a_name_or_identifier_that_the_meter_cannot_have_is_refused() -> None:
    new, old, water = (
        Line(POWER, plain=True),
        Line(POWER, plain=True, model="electricity-1997"),
        Line(WATER, plain=True),
    )
    assert identifiers(new, "00010000") == (0x00010000,)
    assert identifiers(old, "9010") == (0x9010,)
    assert identifiers(water, "D120") == (0xD120,)
    for line, what in ((new, "9010"), (old, "load"), (water, "demand"), (water, "00010000"), (new, "+0x00010"),
                       (new, ""), (water, "٩٠١F")):  # fmt: skip
        with pytest.raises(LocalError) as error:
            identifiers(line, what)
        assert error.value.code == "concentrator.ask"
