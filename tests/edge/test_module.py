"""The module, judged by what an attacker or a power cut would try."""

from __future__ import annotations

import pytest

from meterseal.edge.apdu import CardIns, Ins, Sw, call, pack
from meterseal.edge.chip import GUARDED, Chip, Freeze, Personal
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, NvStore, SealedNv
from meterseal.errors import EngineError, TrustError
from meterseal.link import control, evidence
from meterseal.wire import encode
from tests.crypto.pki import NOW, PROJECT
from tests.edge.platform import STORAGE, Platform, shake_hands
from tests.wire import built

WATER = bytes.fromhex("1078330000000001")
GAS = bytes.fromhex("3078330000000002")
MODULE = bytes.fromhex("4d53000000000001")
OTHER = bytes.fromhex("4d53000000000002")
HOUR = 3_600_000


class FullStore(MemoryNv):
    """Memory that takes no more writes once `full`."""

    full = False

    def write(self, pages) -> None:  # type: ignore[no-untyped-def]
        if self.full:
            raise EngineError("module.memory", "The memory is full.")
        super().write(pages)


@pytest.fixture
def platform() -> Platform:
    return Platform()


def powered(store: NvStore, serial: bytes = MODULE) -> Chip:
    return Chip(Module(SealedNv(store, STORAGE, serial)))


def report(register: int = 123_456, device: bytes = WATER) -> bytes:
    return built.current_data_answer(device, built.volume_payload(register, 0, NOW)).encode()


def freeze(number: int, register: int = 5) -> Freeze:
    end_at = NOW + number * HOUR
    return Freeze(1, end_at, register, -2, 0x2C, 0, ((end_at, register),))


def word_of(error: pytest.ExceptionInfo[TrustError]) -> int:
    return int(error.value.facts["word"] or 0)


@pytest.mark.parametrize("suite", [1, 2])
def test_a_record_of_the_module_opens_at_the_platform(platform: Platform, suite: int) -> None:
    chip, _ = platform.module(WATER, MODULE, suite)
    session_id = shake_hands(platform, chip)
    sealed = chip.seal(report(), NOW)
    assert (sealed.session_id, sealed.counter) == (session_id, 1)
    assert report() not in sealed.record
    (ack,) = platform.receive(sealed.record)
    assert platform.frames[0][1].encode() == report()
    assert chip.state().outstanding == 1
    assert chip.open(ack, NOW).done == (1,)
    assert chip.state().outstanding == 0


@pytest.mark.parametrize("suite", [1, 2])
def test_evidence_is_signed_once_per_sequence_over_the_chain_of_readings(
    platform: Platform, suite: int
) -> None:
    chip, _ = platform.module(WATER, MODULE, suite)
    shake_hands(platform, chip)
    readings = tuple((NOW + k * HOUR, 100 + k) for k in range(1, 24) if k != 7)
    sequence = chip.sign(Freeze(1, NOW + 23 * HOUR, 123, -2, 0x2C, 4, readings))
    platform.receive(chip.seal_evidence(1, sequence, NOW).record)
    ((statement, signature),) = platform.statements
    assert platform.statement_holds(WATER, statement, signature)
    said = evidence.unpack(statement)
    assert (said.device_id, said.register, said.sequence, said.status) == (WATER, 123, 1, 4)
    assert said.head == evidence.chain(evidence.GENESIS, 1, readings)
    assert not platform.statement_holds(WATER, statement[:-1] + b"\x00", signature)


def test_no_command_gives_out_a_key(platform: Platform) -> None:
    chip, store = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    known = platform.enrolled_modules[WATER]
    from meterseal.crypto.expose import expose

    secrets = [expose(known.bound), expose(known.root), platform.latest[WATER].granted.keys.up_enc]
    module = chip._port
    for ins in range(256):
        for content in (b"", NOW.to_bytes(8, "big"), b"\x01" * 65):
            answer = module.transmit(pack(ins, content))
            assert not any(secret in answer for secret in secrets)
    raw = b"".join(store._store.pages.values())  # type: ignore[attr-defined]
    assert not any(secret in raw for secret in secrets)


def test_any_bytes_get_a_status_word_and_change_nothing(platform: Platform) -> None:
    store = MemoryNv()
    chip, _ = platform.module(WATER, MODULE, store=store)
    shake_hands(platform, chip)
    before = dict(store.pages)
    module = chip._port
    for command in (
        b"",
        b"\x80",
        b"\x80\x30\x00",
        b"\x80\x34\x00\x00\x05abc",
        bytes(5000),
        b"\x80\x34\x00\x00\x00",
    ):
        assert len(module.transmit(command)) == 2
    for ins in Ins:
        for content in (b"\xff" * 9, b"\x93\x01\x02\x03", bytes(200)):
            if ins in (Ins.HELLO, Ins.RELEASE):
                continue
            assert module.transmit(pack(ins, content))[-2:] != b"\x90\x00" or ins in (
                Ins.READ_STATE,
                Ins.FIRMWARE_STATE,
            )
    assert store.pages == before


def test_a_copied_module_claims_another_meter_in_vain(platform: Platform) -> None:
    from meterseal.kit.factory import moved

    store = MemoryNv()
    platform.module(WATER, MODULE, store=store)
    platform.module(GAS, OTHER)
    copy = SealedNv(MemoryNv(), STORAGE, MODULE)
    original = SealedNv(store, STORAGE, MODULE)
    copy.write({name: original.read(name) for name in original.names()})
    image = copy.read("state")
    assert image is not None
    copy.write({"state": moved(image, GAS)})
    with pytest.raises(TrustError) as refused:
        platform.receive(Chip(Module(copy)).hello(NOW))
    assert refused.value.code == "link.unknown-module"
    platform.enrolled_modules[GAS].module_id = MODULE  # even a platform that takes the module id for good
    with pytest.raises(TrustError) as refused:
        platform.receive(Chip(Module(copy)).hello(NOW))
    assert refused.value.code == "link.hello-mac"


def test_a_page_moved_to_another_module_or_place_makes_no_module(platform: Platform) -> None:
    store = MemoryNv()
    platform.module(WATER, MODULE, store=store)
    assert "does not open" in Module(SealedNv(store, STORAGE, OTHER)).fault
    store.pages["trust"] = store.pages["state"]
    assert "does not open" in Module(SealedNv(store, STORAGE, MODULE)).fault
    with pytest.raises(TrustError) as refused:
        powered(store).state()
    assert word_of(refused) == Sw.MEMORY


def test_a_module_seals_nothing_for_another_meter_and_vouches_for_none(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    foreign = report(device=GAS)
    with pytest.raises(TrustError) as refused:
        chip.seal(foreign, NOW)
    assert word_of(refused) == Sw.SECURITY
    with pytest.raises(TrustError) as refused:
        chip.seal(foreign, NOW, vouched=True)
    assert word_of(refused) == Sw.CONDITIONS


def test_a_replayed_platform_message_of_an_earlier_run_opens_nothing(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    (old,) = platform.receive(chip.hello(NOW))
    chip.hello(NOW)
    with pytest.raises(TrustError) as refused:
        chip.platform(old, NOW)
    assert word_of(refused) == Sw.SECURITY
    assert shake_hands(platform, chip)


def test_a_platform_certificate_that_ended_before_the_bound_is_refused(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    old_chain = platform.platform_chain
    later = platform.tree.platform(since=NOW + 40 * 86_400_000, until=NOW + 60 * 86_400_000)
    platform.platform_chain = [later, platform.tree.platform_ca]
    shake_hands(platform, chip)
    assert chip.state().time_bound == NOW + 40 * 86_400_000
    platform.platform_chain = old_chain
    with pytest.raises(TrustError):
        shake_hands(platform, chip)


def test_neither_session_nor_time_moves_the_bound(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE, 2)
    before = chip.state().time_bound
    platform.now = NOW + 10**12
    shake_hands(platform, chip)
    ping = chip.seal_control(control.PING, NOW)
    chip.open(platform.word(platform.latest[WATER], control.time(NOW + 10**12, ping.counter)), NOW)
    assert chip.state().time_bound == before


def test_time_is_taken_only_for_a_ping_of_this_module(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    session = platform.latest[WATER]
    with pytest.raises(TrustError):
        chip.open(platform.word(session, control.time(NOW, 5)), NOW)
    ping = chip.seal_control(control.PING, NOW)
    assert chip.open(platform.word(session, control.time(NOW + 7, ping.counter)), NOW).clock_at == NOW + 7
    with pytest.raises(TrustError):
        chip.open(platform.word(session, control.time(NOW + 10**12, ping.counter)), NOW)  # past notAfter


def test_a_replayed_or_reflected_record_does_nothing(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    sealed = chip.seal(report(), NOW)
    (ack,) = platform.receive(sealed.record)
    chip.open(ack, NOW)
    for message in (ack, sealed.record, ack[:-1] + b"\x00"):
        with pytest.raises(TrustError) as refused:
            chip.open(message, NOW)
        assert word_of(refused) == Sw.SECURITY


def test_a_write_without_a_guard_is_refused(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    with pytest.raises(TrustError):
        chip.open(platform.request(WATER, encode.valve_request(WATER, opened=False)), NOW)
    asked = chip.open(platform.request(WATER, encode.read_request(WATER, 0x901F)), NOW)
    assert asked.frames == (encode.read_request(WATER, 0x901F).encode(),)


def test_a_guarded_command_without_the_services_authorisation_is_refused(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    close = encode.valve_request(WATER, opened=False)
    with pytest.raises(TrustError):
        chip.open(platform.command(WATER, close, 1, NOW + HOUR, bytes(16)), NOW)
    assert chip.state().command_number == 0
    assert chip.open(platform.command(WATER, close, 1, NOW + HOUR), NOW).frames == (close.encode(),)


def test_a_guarded_command_is_carried_out_once_and_its_repeat_gets_the_stored_answer(
    platform: Platform,
) -> None:
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    close = encode.valve_request(WATER, opened=False)
    first = chip.open(platform.command(WATER, close, 4, NOW + HOUR), NOW)
    chip.keep_answer(4, b"the answer")
    again = chip.open(platform.command(WATER, close, 4, NOW + HOUR), NOW)
    assert (first.kind, first.number, len(first.frames)) == (GUARDED, 4, 1)
    assert (again.frames, again.answer) == ((), b"the answer")
    for number, until in ((3, NOW + HOUR), (5, NOW - 1)):
        with pytest.raises(TrustError):
            chip.open(platform.command(WATER, close, number, until), NOW)


def test_sixty_four_counters_may_be_unacknowledged_and_no_more(platform: Platform) -> None:
    platform.deaf = True
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    for _ in range(64):
        chip.seal(report(), NOW)
    with pytest.raises(TrustError) as refused:
        chip.seal(report(), NOW)
    assert word_of(refused) == Sw.FULL


def test_a_session_ends_with_its_records_or_its_time(platform: Platform) -> None:
    platform.records_allowed = 2
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    chip.seal(report(), NOW)
    with pytest.raises(TrustError):
        chip.seal(report(), NOW + 2_592_000_000)
    chip.seal(report(), NOW)
    with pytest.raises(TrustError) as refused:
        chip.seal(report(), NOW)
    assert word_of(refused) == Sw.CONDITIONS


def test_the_old_session_receives_until_the_new_one_is_acknowledged(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    old = platform.latest[WATER]
    sealed = chip.seal(report(), NOW)
    (late,) = platform.receive(sealed.record)
    shake_hands(platform, chip)
    assert chip.open(late, NOW).done == (sealed.counter,)
    (ack,) = platform.receive(chip.seal(report(), NOW).record)
    chip.open(ack, NOW)
    with pytest.raises(TrustError):
        chip.open(platform.word(old, control.rekey()), NOW)


def test_a_repeated_session_message_does_not_set_counters_back(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    (answer,) = platform.receive(chip.hello(NOW))
    (session,) = platform.receive(chip.platform(answer, NOW))
    chip.session(session, NOW)
    first = chip.seal(report(), NOW)
    chip.session(session, NOW)
    assert chip.seal(report(), NOW).counter == first.counter + 1


def test_a_key_update_is_taken_once_and_the_old_slot_serves_until_the_new_one_did(
    platform: Platform,
) -> None:
    chip, _ = platform.module(WATER, MODULE)
    shake_hands(platform, chip)
    known, session = platform.enrolled_modules[WATER], platform.latest[WATER]
    from meterseal.crypto.handles import SymmetricKey

    fresh = SymmetricKey.generate("K_b version 2")
    update = control.key(known.update, WATER, MODULE, 2, fresh)
    forged = control.Word(control.KEY, update.content[:-1] + bytes((update.content[-1] ^ 1,)))
    with pytest.raises(TrustError):
        chip.open(platform.word(session, forged), NOW)
    chip.open(platform.word(session, update), NOW)
    with pytest.raises(TrustError):
        chip.open(platform.word(session, update), NOW)
    with pytest.raises(TrustError):  # the platform does not know version 2 yet: the next try uses version 1
        shake_hands(platform, chip)
    shake_hands(platform, chip)
    known.bound, known.version = fresh, 2
    tries = 0
    while chip.state().key_version == 1:
        tries += 1
        assert tries < 4
        try:
            shake_hands(platform, chip)
        except TrustError:
            continue
    assert chip.seal(report(), NOW).counter == 1


def test_a_module_is_personalised_once(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    again = Personal(GAS, 2, PROJECT, 1, NOW, b"x" * 129)
    with pytest.raises(TrustError) as refused:
        chip.personalise(again)
    assert word_of(refused) == Sw.CONDITIONS
    with pytest.raises(TrustError):
        chip.make_key(OTHER)


def test_an_envelope_for_another_module_does_not_personalise(platform: Platform) -> None:
    stranger = powered(MemoryNv())
    stranger.make_key(OTHER)
    personal = platform.personal(powered(MemoryNv()), WATER, MODULE)
    with pytest.raises(TrustError):
        stranger.personalise(personal)
    assert stranger.state().life == 0


def test_a_factory_module_does_no_work(platform: Platform) -> None:
    chip = powered(MemoryNv())
    for ins in (Ins.HELLO, Ins.SEAL, Ins.SIGN, Ins.OPEN):
        with pytest.raises(TrustError) as refused:
            call(chip._port, ins, bytes(40))
        assert word_of(refused) == Sw.CONDITIONS
    assert len(chip._port.transmit(pack(CardIns.GET_CHALLENGE, expected=16))) == 18


def test_full_memory_refuses_and_changes_nothing(platform: Platform) -> None:
    store = FullStore()
    chip, _ = platform.module(WATER, MODULE, store=store)
    shake_hands(platform, chip)
    store.full = True
    with pytest.raises(TrustError) as refused:
        chip.sign(freeze(1))
    assert word_of(refused) == Sw.MEMORY
    store.full = False
    assert chip.sign(freeze(1)) == 1


def test_evidence_never_goes_back_in_time(platform: Platform) -> None:
    chip, _ = platform.module(WATER, MODULE)
    chip.sign(freeze(5))
    for bad in (freeze(5), freeze(4), Freeze(1, NOW + 9 * HOUR, 1, -2, 0x2C, 0, ((NOW + 5 * HOUR, 1),))):
        with pytest.raises(TrustError):
            chip.sign(bad)
    assert chip.sign(freeze(6)) == 2
