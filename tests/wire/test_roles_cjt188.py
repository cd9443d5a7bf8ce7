"""Master and slave of CJ/T 188 over every row of the catalogue: what is built is read, what is read is built again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.errors import LocalError, PeerError
from meterseal.wire import roles
from meterseal.wire.asked import Ask, Reason
from meterseal.wire.catalogue import BYTES, ROWS, Identifier, row_of
from meterseal.wire.cjt188.habits import CODES, FollowUp, Habits
from meterseal.wire.fields import clock_at
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.sheet import Segment, Value, scaled
from meterseal.wire.values import values_of

from .frames import VALID
from .households import CALM, GAS, HEAT, NOON, READS, WATER, entry, model, registers, values_for, writes

DEVICES = st.sampled_from([WATER, HEAT, GAS])
ASKED = [
    frame
    for frame in (parse_frame(bytes.fromhex(vector["hex"]).lstrip(b"\xfe"))[0] for vector in VALID)
    if frame.protocol == "cjt188" and not frame.control & 0x80 and frame.control != 0x21
]
REASONS: list[Reason] = list(CODES)


def asked(device_id: bytes, di: int, ser: int = 7, *, high_first: bool = True) -> Frame:
    row = row_of(di)
    assert row is not None
    return roles.request(
        device_id, Ask(kind=row.kind, di=di, ser=ser, high_first=high_first), model(high_first=high_first)
    )


@given(writes(), st.booleans(), st.sampled_from([None, "2004", "2018"]))
@settings(CALM, max_examples=300)
def test_every_write_comes_back_as_it_was_asked_and_as_the_same_bytes(
    case: tuple[bytes, Ask], high_first: bool, edition: str | None
) -> None:
    device_id, ask = case
    profile = model(high_first=high_first)
    frame = parse_frame(roles.request(device_id, ask, profile).encode())[0]
    assert len(frame.data) <= 50
    got = roles.ask_of(frame, profile)
    assert (got.kind, got.di, got.ser, got.action, got.at) == (ask.kind, ask.di, ask.ser, ask.action, ask.at)
    assert got.high_first is high_first
    assert got.opaque is ask.opaque
    given_values = registers(ask.values)
    if device_id == HEAT and "cumulative_volume" in given_values:
        assert registers(got.values) == given_values, "the unit says that it is a volume"
    if ask.opaque:
        assert got.payload == ask.payload
    else:
        assert registers(got.values) == given_values
    assert roles.request(device_id, got, profile) == frame
    meaning = interpret(frame)
    assert meaning.di == ask.di
    assert meaning.recognised is not ask.opaque
    row = row_of(ask.di or 0)
    assert row is not None
    if edition is not None:
        strict = roles.ask_of(frame, model(edition=edition, high_first=high_first))
        foreign = row.edition not in ("both", edition)
        assert (strict.kind == "vendor") is foreign
        assert strict.opaque is (foreign or ask.opaque)


@given(st.data(), st.sampled_from(READS), DEVICES, st.booleans())
@settings(CALM, max_examples=400)
def test_every_read_is_answered_with_the_values_that_were_given(
    data: st.DataObject, row: Identifier, device_id: bytes, high_first: bool
) -> None:
    di = data.draw(entry(row))
    profile = model(high_first=high_first)
    ser = data.draw(st.integers(0, 255))
    request = asked(device_id, di, ser, high_first=high_first)
    ask = roles.ask_of(request, profile)
    assert (ask.kind, ask.di, ask.ser) == (row.kind, di, ser)
    assert roles.request(device_id, ask, profile) == request
    if row.kind == "read-address":
        got = roles.address_answer(device_id, request, profile)
        assert got.data == request.data
        assert roles.matches(request, got, profile).answers
        return
    names = row.layout(up=True, heat=device_id == HEAT)
    values = data.draw(values_for(names, blanks=True))
    got = parse_frame(roles.answer(device_id, request, values, profile).encode())[0]
    match = roles.matches(request, got, profile)
    assert (match.answers, match.ser_differs) == (True, False), match.why
    meaning = interpret(got)
    assert (meaning.ser, meaning.error, meaning.more) == (ser, False, False)
    if {di >> 8, di & 0xFF} <= {0xD2, 0xD3, 0xD4}:
        assert meaning.di in (di, di >> 8 | (di & 0xFF) << 8)
        return
    assert meaning.di == di
    assert meaning.recognised is (names != BYTES)
    shown = values_of(meaning)
    read = registers(shown)
    for name, value in values.items():
        if name in ("clock", "freeze_time"):
            assert _instant(shown[name]) == value
        else:
            assert read[name] == value, name
    assert set(read) == set(values)
    assert roles.answer(device_id, request, roles.stated(got, profile), profile) == got


def _instant(shown: object) -> int | None:
    text = shown.text if isinstance(shown, Value) else shown
    assert text is None or isinstance(text, str)
    marks = {ord(mark): None for mark in "-:T"}
    return None if text is None else clock_at(bytes.fromhex(text.translate(marks))[::-1])


@given(st.data(), st.sampled_from([WATER, HEAT]))
@settings(CALM, max_examples=100)
def test_units_before_their_values_and_clocks_in_reading_order_are_read_too(
    data: st.DataObject, device_id: bytes
) -> None:
    profile = model(units_first=True, clock_order="high")
    names = READS[0].layout(up=True, heat=device_id == HEAT)
    values = data.draw(values_for(names))
    values["clock"] = data.draw(st.integers(1_500_000_000, 1_900_000_000).map(lambda seconds: seconds * 1000))
    request = asked(device_id, 0x901F)
    got = roles.answer(device_id, request, values, profile)
    meaning = interpret(got)
    assert {name: values[name] for name in meaning.readings} == registers(meaning.readings)
    assert any(line.startswith("unit-order") for line in meaning.anomalies)
    assert meaning.clock_at == values["clock"] or clock_at(got.data[-9:-2]) is not None


@pytest.mark.parametrize("frame", ASKED, ids=lambda frame: frame.encode().hex())
def test_captured_requests_are_asked_again_byte_for_byte(frame: Frame) -> None:
    habits = Habits(functions={"valve": "2A"}, address_ser=len(frame.data) > 2)
    profile = model(habits)
    assert roles.request(frame.device_id, roles.ask_of(frame, profile), profile) == frame


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize(
    ("layout", "length"),
    [
        ("error", 1),
        ("ser-error", 2),
        ("ser-status", 3),
        ("di-ser-error", 4),
        ("di-ser-status", 5),
    ],
)
def test_errors_are_said_in_every_layout_and_understood_as_errors(
    reason: Reason, layout: str, length: int
) -> None:
    profile = model(error_layout=layout, high_first=False)
    request = asked(WATER, 0x901F, ser=9, high_first=False)
    got = roles.refuse(WATER, request, reason, profile, status=b"\x05\x00")
    meaning = interpret(got)
    assert (got.control, len(got.data)) == (0xC1, length)
    assert meaning.error
    assert meaning.error_code is not None
    assert int(meaning.error_code[-2:], 16) == CODES[reason]
    assert meaning.ser == (9 if length > 1 else None)
    assert meaning.di == (0x901F if length > 3 else None)
    assert (meaning.status.valve if meaning.status else None) == ("closed" if length in (3, 5) else None)
    assert roles.matches(request, got, profile).answers
    other = asked(WATER, 0x8103, ser=9, high_first=False)
    assert roles.matches(other, got, profile).answers is (length < 4)
    own = model(error_layout=layout, error_codes={reason: "7F"})
    assert roles.refuse(WATER, request, reason, own).data[-1] == 0x7F


def test_the_captured_form_of_an_error_answer_is_made() -> None:
    frame = parse_frame(bytes.fromhex("683077665544332211C104901F0102EB16"))[0]
    request = Frame("cjt188", 0x30, frame.address, 1, bytes.fromhex("901F01"))
    profile = model(error_layout="di-ser-error")
    assert roles.refuse(frame.device_id, request, "no-such-data", profile) == frame


@pytest.mark.parametrize("row", [row for row in ROWS if row.writes], ids=lambda row: f"{row.di:04X}")
@pytest.mark.parametrize("habit", [None, 3, 4, 5])
def test_writes_are_answered_in_every_form(row: Identifier, habit: int | None) -> None:
    usual = {0xA014: 4, 0xA016: 5, 0xA017: 5}.get(row.di, 3)
    chosen = {} if habit is None else {"any": habit}
    request = Frame(
        "cjt188", 0x10, WATER[:0:-1], row.function, row.di.to_bytes(2, "little") + b"\x21" + b"\x07" * 9
    )
    profile = model(write_answers=chosen)
    got = roles.done(WATER, request, profile, status=b"\x01\xff")
    assert len(got.data) == (habit or usual)
    assert got.data[:3] == request.data[:3]
    assert got.control == row.function | 0x80
    meaning = interpret(got)
    assert meaning.recognised
    assert not meaning.error
    if len(got.data) == 5:
        assert meaning.status is not None
        assert meaning.status.raw == "01ff"
    if row.di == 0xA014 and len(got.data) == 4:
        assert meaning.readings["key_version"].register == 7
    assert roles.matches(request, got, profile).answers
    named = model(write_answers={"any": 3, f"{row.di:04X}": 5})
    assert len(roles.done(WATER, request, named).data) == 5


@pytest.mark.parametrize(
    ("control", "data", "why"),
    [
        (0x81, "901F00", "an answer"),
        (0x01, "", "0 data bytes"),
        (0x01, "90", "1 data bytes"),
        (0x01, "901F", "SER"),
        (0x01, "901F0000", "a request to read 901F has none"),
        (0x04, "901F00", "does not go with"),
        (0x01, "A0170055", "does not go with"),
        (0x04, "A01700", "takes 1 bytes"),
        (0x04, "A0170055AA", "takes 1 bytes"),
        (0x04, "A011000A", "no BCD"),
        (0x04, "A0110000", "no day"),
        (0x04, "A0110032", "no day"),
        (0x04, "A0150061012211051520", "no time"),
        (0x04, "A01500FFFFFFFFFFFFFF", "no time"),
        (0x04, "A0150020150511220131", "no time"),
        (0x04, "A013000100", "takes 5 bytes"),
        (0x04, "A10300", "takes 1 bytes"),
        (0x04, "A10400000000", "takes 4 bytes"),
        (0x04, "A107000000", "takes 32 bytes"),
        (0x15, "A018000102030405", "takes 7 bytes"),
        (0x04, "A01800010203040506", "does not go with"),
        (0x16, "A016007856341A2C", "no BCD"),
        (0x04, "02E0000001", "head"),
        (0x01, "02E000000000", "head"),
        (0x01, "E002000000", "low byte first"),
        (0x01, "E00100", "low byte first"),
    ],
)
def test_what_a_lenient_reader_shows_a_slave_does_not_carry_out(control: int, data: str, why: str) -> None:
    frame = Frame("cjt188", 0x10, WATER[:0:-1], control, bytes.fromhex(data))
    with pytest.raises(PeerError, match=why) as caught:
        roles.ask_of(frame, model())
    assert caught.value.code == "wire.request"


@pytest.mark.parametrize("control", [0x2A, 0x21, 0x05, 0x00, 0x3F])
def test_functions_that_neither_edition_nor_model_has_are_named(control: int) -> None:
    frame = Frame("cjt188", 0x10, WATER[:0:-1], control, bytes.fromhex("A0170055"))
    with pytest.raises(PeerError, match=f"function {control:02X}") as caught:
        roles.ask_of(frame, model())
    assert caught.value.code == "wire.function"
    own = model(functions={"valve": f"{control:02X}"})
    assert roles.ask_of(frame, own).action == "open"


def test_valve_codes_are_the_models() -> None:
    vendor = model(valve={"open": "55", "close": "99", "free-open": "66"})
    for action, code in (("open", 0x55), ("close", 0x99), ("free-open", 0x66)):
        frame = roles.request(WATER, Ask(kind="valve", action=action), vendor)
        assert frame.data[3] == code
        assert roles.ask_of(frame, vendor).action == action
    strange = Frame("cjt188", 0x10, WATER[:0:-1], 4, bytes.fromhex("A0170077"))
    ask = roles.ask_of(strange, vendor)
    assert (ask.action, ask.payload) == (None, b"\x77")
    assert roles.request(WATER, ask, vendor) == strange
    with pytest.raises(LocalError, match="knows open, close"):
        roles.request(WATER, Ask(kind="valve", action="free-open"), model())


def test_unknown_identifiers_reach_the_meter_so_that_it_can_say_no() -> None:
    read = roles.ask_of(Frame("cjt188", 0x10, WATER[:0:-1], 1, bytes.fromhex("123400")), model())
    assert (read.kind, read.di, read.opaque) == ("read", 0x1234, True)
    write = roles.ask_of(Frame("cjt188", 0x10, WATER[:0:-1], 4, bytes.fromhex("12340099")), model())
    assert (write.kind, write.payload) == ("vendor", b"\x99")
    assert roles.request(WATER, write, model()).data.hex() == "12340099"


def test_broadcasts_and_wildcards_are_told() -> None:
    def heard(meter_type: int, address: bytes) -> Ask:
        return roles.ask_of(Frame("cjt188", meter_type, address, 1, bytes.fromhex("901F00")), model())

    assert (heard(0x10, WATER[:0:-1]).wildcard, heard(0x10, WATER[:0:-1]).broadcast) == (False, False)
    assert heard(0xAA, WATER[:0:-1]).wildcard
    assert heard(0x10, b"\xaa" * 7).wildcard
    assert heard(0x10, b"\x11" + b"\xaa" * 6).wildcard
    assert heard(0x10, b"\x99" * 7).broadcast


def test_an_answer_is_matched_by_type_address_function_identifier_and_serial_number() -> None:
    profile = model()
    request = asked(WATER, 0x901F, ser=7)
    payload = b"\x00" * 19

    def reply(control: int = 0x81, data: str = "901F07", device: bytes = WATER) -> Frame:
        return Frame("cjt188", device[0], device[:0:-1], control, bytes.fromhex(data) + payload)

    assert roles.matches(request, reply(), profile).answers
    assert roles.matches(request, reply(data="1F9007"), profile).answers
    assert roles.matches(request, reply(data="901F08"), profile).ser_differs
    for got, why in (
        (reply(control=0x01), "no answer"),
        (reply(device=HEAT), "another type"),
        (reply(device=WATER[:-1] + b"\x45"), "another meter"),
        (reply(control=0x84), "another function"),
        (reply(control=0xA1), "another function"),
        (reply(data="D12007"), "identifier"),
    ):
        match = roles.matches(request, got, profile)
        assert not match.answers
        assert why in match.why
    wide = Frame("cjt188", 0xAA, b"\xaa" * 7, 1, request.data)
    assert roles.matches(wide, reply(device=HEAT), profile).answers
    some = Frame("cjt188", 0x10, b"\x44" + b"\xaa" * 6, 1, request.data)
    assert roles.matches(some, reply(), profile).answers
    assert not roles.matches(some, reply(device=WATER[:-1] + b"\x45"), profile).answers


def test_a_meter_may_be_asked_as_another_type_than_it_answers_as() -> None:
    profile = model(asked_as="20")
    request = roles.request(HEAT, Ask(kind="read", di=0x8103), profile)
    assert (HEAT[0], request.meter_type) == (0x25, 0x20)
    got = roles.answer(HEAT, request, {"settlement_day": 5}, profile)
    assert got.meter_type == 0x25
    assert roles.matches(request, got, profile).answers
    assert not roles.matches(request, got, model()).answers
    assert roles.request(b"\xaa" * 8, Ask(kind="read-address"), profile).meter_type == 0xAA


def test_the_models_order_decides_where_an_identifier_reads_both_ways() -> None:
    low, high = model(high_first=False), model(high_first=True)
    history = roles.request(WATER, Ask(kind="read", di=0xD2D3), low)
    assert history.data[:2] == b"\xd3\xd2"
    assert roles.ask_of(history, low).di == 0xD2D3
    assert roles.ask_of(history, high).di == 0xD3D2
    volume = {"settlement_volume": 5}
    got = roles.answer(WATER, history, volume, low)
    assert len(got.data) == 8
    assert got.data[:2] == b"\xd3\xd2"
    assert roles.matches(history, got, low).answers
    swapped = Frame("cjt188", 0x10, got.address, 0x81, b"\xd2\xd3" + got.data[2:])
    assert not roles.matches(history, swapped, low).answers
    fixed = model(high_first=False, answer_order="high")
    assert roles.answer(WATER, history, volume, fixed).data[:2] == b"\xd2\xd3"
    assert roles.matches(history, swapped, fixed).answers


def test_long_answers_in_pieces_come_together_again() -> None:
    profile = model(follow_up=FollowUp(largest=16, function="21"))
    values = {
        **dict.fromkeys(READS[0].heat or (), 12),
        "clock": NOON,
        "status": b"\x00\x05",
    }
    request = asked(HEAT, 0x901F, ser=3)
    pieces = [roles.answer(HEAT, request, values, profile)]
    ser = 3
    while pieces[-1].control & 0x20:
        ser = roles.next_ser(ser, profile)
        follow = roles.request(HEAT, Ask(kind="follow-up", di=0x901F, ser=ser), profile)
        assert roles.ask_of(follow, profile).kind == "follow-up"
        got = roles.answer(HEAT, follow, values, profile, number=len(pieces))
        assert roles.matches(follow, got, profile).answers
        pieces.append(got)
    assert [piece.control for piece in pieces] == [0xA1, 0xA1, 0x81]
    whole = roles.joined(pieces)
    assert whole == roles.answer(HEAT, request, values, model())
    assert interpret(whole).recognised
    for broken in (pieces[:2], pieces[1:2], [pieces[0], pieces[0], pieces[1]], [pieces[2], *pieces]):
        with pytest.raises(PeerError, match="do not belong together"):
            roles.joined(broken)
    with pytest.raises(LocalError, match="3 pieces"):
        roles.answer(HEAT, request, values, profile, number=3)


def test_a_kind_of_request_finds_its_identifier_and_function() -> None:
    found = {}
    for ask in (
        Ask(kind="verification", action="enter"),
        Ask(kind="verification", action="leave"),
        Ask(
            kind="price",
            values=dict.fromkeys(("price_1", "volume_1", "price_2", "volume_2", "price_3", "start_day"), 1),
        ),
        Ask(kind="key", values={"key_version": 2, "new_key": bytes(8)}),
        Ask(kind="time", at=NOON),
        Ask(kind="sync", values={"cumulative_volume": 12}),
        Ask(kind="read-key-version"),
        Ask(kind="read-address"),
        Ask(kind="factory-enable"),
    ):
        frame = roles.request(WATER, ask, model())
        found[roles.ask_of(frame, model()).kind, frame.data[:2].hex()] = frame.control
    assert found == {
        ("verification", "a101"): 0x04,
        ("verification", "a102"): 0x04,
        ("price", "a010"): 0x04,
        ("key", "a014"): 0x04,
        ("time", "a015"): 0x04,
        ("sync", "a016"): 0x16,
        ("read-key-version", "8106"): 0x09,
        ("read-address", "810a"): 0x03,
        ("factory-enable", "a019"): 0x04,
    }
    for ask in (Ask(kind="vendor"), Ask(kind="intervals"), Ask(kind="verification")):
        with pytest.raises(LocalError, match="names its identifier"):
            roles.request(WATER, ask, model())


def test_serial_numbers_count_to_255_and_start_again_or_stay() -> None:
    assert [roles.next_ser(ser, model()) for ser in (0, 254, 255)] == [1, 255, 0]
    assert roles.next_ser(170, model(ser="constant")) == 170


def test_segments_are_asked_both_ways() -> None:
    profile = model()
    write = Ask(kind="segment", segment=Segment(100, 40, b"chunk"), ser=2)
    read = Ask(kind="segment", segment=Segment(None, 40, b""), ser=3)
    for ask, control in ((write, 4), (read, 1)):
        frame = roles.request(WATER, ask, profile)
        assert frame.control == control
        got = roles.ask_of(frame, profile)
        assert got.segment == ask.segment
        assert roles.request(WATER, got, profile) == frame


def test_units_decimals_and_roll_over_are_the_models() -> None:
    def sent(value: Value | int | None, **habits: object) -> str:
        profile = model(Habits(**habits))  # type: ignore[arg-type]
        values = {
            "cumulative_volume": value,
            "settlement_volume": 0,
            "clock": None,
            "status": bytes(2),
        }
        return roles.answer(WATER, asked(WATER, 0x901F), values, profile).data[3:8].hex()

    assert sent(1234) == "341200002c"
    assert sent(scaled(1234, -2, "m3")) == "341200002c"
    assert sent(scaled(12345, -3, "m3")) == "341200002c", "a meter cuts what it does not show"
    assert sent(scaled(7, 0, "m3")) == "000700002c"
    assert sent(scaled(1234, -2, "L")) == "3412000029"
    assert sent(None) == "ffffffff2c"
    assert sent(None, blank="00") == "000000002c"
    assert sent(5, units={"cumulative_volume": "29"}) == "0500000029"
    assert sent(5, units={"cumulative_volume": "00"}) == "0500000000"
    assert (
        sent(scaled(5, 0, "L"), units={"cumulative_volume": "29"}, decimals={"cumulative_volume": 0})
        == "0500000029"
    )
    assert sent(100_000_001, rollover={"cumulative_volume": 8}) == "010000002c"
    assert sent(100_003, rollover={"cumulative_volume": 5}) == "030000002c"
    for wrong in (100_000_000, -1, scaled(5, -7, "L"), scaled(5, 0, "kg")):
        with pytest.raises(LocalError, match="cumulative_volume"):
            sent(wrong)


def test_values_that_are_missing_or_of_the_wrong_kind_are_refused_by_name() -> None:
    good = {"cumulative_volume": 1, "settlement_volume": 1, "clock": NOON, "status": bytes(2)}
    request = asked(WATER, 0x901F)
    assert interpret(roles.answer(WATER, request, good, model())).recognised
    for name, wrong in (
        ("cumulative_volume", "12"),
        ("clock", "yesterday"),
        ("clock", b"\x00"),
        ("clock", 10**18),
        ("status", 5),
        ("status", b"\x00\x00\x00"),
        ("tail", "12"),
    ):
        with pytest.raises(LocalError, match=name):
            roles.answer(WATER, request, {**good, name: wrong}, model())
    for name in good:
        with pytest.raises(LocalError, match=name):
            roles.answer(WATER, request, {key: value for key, value in good.items() if key != name}, model())
    with pytest.raises(LocalError, match="100 bytes"):
        roles.answer(WATER, request, {**good, "tail": bytes(80)}, model())
    for ask in (
        Ask(kind="read"),
        Ask(kind="write-address", values={"new_address": "12"}),
        Ask(kind="write-address", values={"new_address": "xx330011223344"}),
        Ask(kind="purchase", values={"purchase_serial": 256, "purchase_amount": 1}),
        Ask(kind="communication", payload=b"\x01\x02"),
        Ask(kind="key", values={"key_version": 1, "new_key": bytes(7)}),
    ):
        with pytest.raises(LocalError) as caught:
            roles.request(WATER, ask, model())
        assert caught.value.code == "wire.field"


def test_reports_go_out_under_the_models_control_code_and_order() -> None:
    values = {"cumulative_volume": 1, "settlement_volume": 2, "clock": NOON, "status": bytes(2)}
    usual = roles.report(WATER, 0x901F, values, model(high_first=False), ser=4)
    assert (usual.control, usual.data[:3].hex()) == (0x81, "1f9004")
    own = roles.report(WATER, 0x901F, values, model(report="A1", answer_order="high", high_first=False))
    assert (own.control, own.data[:3].hex()) == (0xA1, "901f00")
    vendor = roles.report(GAS, 0xC001, {"payload": b"\x01\x02"}, model())
    assert vendor.data.hex() == "c001000102"


def test_an_address_may_stand_in_the_data_too() -> None:
    request = asked(WATER, 0x810A)
    got = roles.address_answer(WATER, request, model(address_in_data=True))
    assert len(got.data) == 10
    assert interpret(got).anomalies == ()
    bare = roles.request(WATER, Ask(kind="read-address"), model(address_ser=False))
    assert bare.data.hex() == "810a"
    assert roles.address_answer(WATER, bare, model()).data.hex() == "810a"
    assert roles.ask_of(bare, model()).ser is None


@given(
    st.integers(0, 255),
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda row, order, rest: row.di.to_bytes(2, "big" if order else "little") + rest,
            st.sampled_from(ROWS),
            st.booleans(),
            st.binary(max_size=40),
        ),
    ),
    st.sampled_from(["error", "ser-error", "ser-status", "di-ser-error", "di-ser-status"]),
)
@settings(CALM, max_examples=300)
def test_any_frame_is_an_ask_or_a_peer_error_and_can_be_refused(
    control: int, data: bytes, layout: str
) -> None:
    profile = model(error_layout=layout)
    frame = Frame("cjt188", 0x10, WATER[:0:-1], control, data)
    try:
        ask = roles.ask_of(frame, profile)
    except PeerError as error:
        code = error.code
    else:
        assert roles.request(WATER, ask, profile) == frame
        return
    assert code in ("wire.request", "wire.function")
    if not control & 0x80:
        assert interpret(roles.refuse(WATER, frame, "other", profile)).error
