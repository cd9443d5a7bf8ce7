"""The module's life, its files and its policy (HM-8.5.4.c, HM-8.5.4.d, HM-8.5.4.e, HM-8.5.4.f)."""

from __future__ import annotations

import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import CardIns, Ins, Sw, call, pack, parse
from meterseal.edge.card import field
from meterseal.edge.cardmemory import TRIES, Cause, Counter
from meterseal.edge.chip import ACTIVE, DESTROYED, LOCKED, PERSONALISED
from meterseal.edge.nv import MemoryNv, NvStore, SqliteNv, open_nv_database
from meterseal.edge.storing import AUTHENTICATE, ENCRYPT
from meterseal.errors import EngineError, LocalError
from meterseal.link import cardkeys
from meterseal.link.cardkeys import Purpose
from meterseal.wire import encode
from tests.crypto.pki import NOW
from tests.edge.cards import MODULE, PIN, PUK, ROOT_KEY, WATER, Bench, refused
from tests.edge.platform import Platform, shake_hands
from tests.edge.test_module import report


def test_a_module_is_locked_unlocked_and_destroyed_by_its_issuer() -> None:
    bench = Bench()
    assert bench.card.state().life == PERSONALISED
    shake_hands(bench.platform, bench.chip)
    assert bench.card.state().life == ACTIVE
    bench.card.external(bench.issuer, Purpose.LOCK)
    assert bench.power().state().life == LOCKED
    bench.card.external(bench.issuer, Purpose.UNLOCK)
    assert bench.power().state().life == ACTIVE
    assert bench.chip.seal(report(), NOW).counter == 65
    bench.card.external(bench.issuer, Purpose.DESTROY)
    assert bench.power().state().life == DESTROYED


def test_a_locked_module_answers_state_challenge_and_unlocking_alone() -> None:
    bench = Bench()
    shake_hands(bench.platform, bench.chip)
    bench.card.external(bench.issuer, Purpose.LOCK)
    blocked = (CardIns.VERIFY, CardIns.CHANGE, CardIns.RESET)
    for ins in (*Ins, *CardIns):
        if ins in (Ins.READ_STATE, CardIns.GET_CHALLENGE):
            continue
        word = int.from_bytes(bench.port.transmit(pack(ins, bytes(40))), "big")
        assert word == (Sw.BLOCKED if any(ins is one for one in blocked) else Sw.CONDITIONS), ins
    for purpose in (Purpose.RIGHTS, Purpose.LOCK, Purpose.DESTROY):
        assert refused(lambda purpose=purpose: bench.card.external(bench.issuer, purpose)) == Sw.CONDITIONS
    assert bench.card.state().life == LOCKED


def test_a_destroyed_module_answers_its_state_alone() -> None:
    bench = Bench()
    shake_hands(bench.platform, bench.chip)
    bench.card.external(bench.issuer, Purpose.DESTROY)
    for _ in range(2):
        for ins in (*Ins, *CardIns):
            if ins != Ins.READ_STATE:
                assert bench.port.transmit(pack(ins, bytes(40))) == Sw.CONDITIONS.to_bytes(2, "big")
        state = bench.card.state()
        assert (state.life, state.module_id, state.device_id, state.point) == (DESTROYED, MODULE, WATER, b"")
        bench.power()


def test_destruction_leaves_no_page_of_before_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "modules.db"
    connection = open_nv_database(str(path))
    store = SqliteNv(connection, b"module")
    bench = Bench(store, suite=1)
    bench.card.external(bench.issuer)
    bench.card.update(bench.issuer, 6, b"some of the user's own data")
    shake_hands(bench.platform, bench.chip)
    pages = [store.read(name) or b"" for name in store.names()]
    assert len(pages) == 4

    def everything() -> bytes:
        return b"".join(one.read_bytes() for one in tmp_path.iterdir())

    assert all(page[:40] in everything() for page in pages if len(page) < 3000)
    bench.card.external(bench.issuer, Purpose.DESTROY)
    assert not any(page[at : at + 40] in everything() for page in pages for at in range(0, len(page) - 40, 8))
    assert store.names() == ["state"]


def test_destruction_says_so_when_the_old_pages_could_not_go_and_ends_it_at_the_next_power_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "modules.db"
    connection = open_nv_database(str(path))
    connection.execute("PRAGMA busy_timeout=50")
    bench = Bench(SqliteNv(connection, b"module"))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM pages").fetchone()
    assert refused(lambda: bench.card.external(bench.issuer, Purpose.DESTROY)) == Sw.MEMORY
    assert refused(lambda: bench.chip.hello(NOW)) == Sw.CONDITIONS
    reader.execute("COMMIT")
    bench.power()
    assert bench.card.state().life == DESTROYED
    assert Path(f"{path}-wal").stat().st_size == 0


def test_rights_end_with_the_power_and_with_a_lock() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    bench.card.verify(PIN)
    bench.power()
    assert refused(lambda: bench.card.read(2)) == Sw.SECURITY
    assert refused(lambda: bench.card.put_policy(bench.issuer, 2)) == Sw.SECURITY
    bench.card.external(bench.issuer)
    bench.card.verify(PIN)
    bench.card.external(bench.issuer, Purpose.LOCK)
    bench.card.external(bench.issuer, Purpose.UNLOCK)
    assert refused(lambda: bench.card.read(2)) == Sw.SECURITY
    assert refused(lambda: bench.card.put_policy(bench.issuer, 2)) == Sw.SECURITY


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "reads", "writes"),
    [
        (1, "any", "external"),
        (2, "pin", "pin"),
        (3, "pin", "external"),
        (4, "external", "external"),
        (6, "any", "any"),
    ],
)
def test_a_file_is_read_and_written_by_its_rights_alone(file: int, reads: str, writes: str) -> None:
    bench = Bench()
    for who in ("nobody", "pin", "external"):
        bench.power()
        if who == "pin":
            bench.card.verify(PIN)
        if who == "external":
            bench.card.external(bench.issuer)
        if reads in (who, "any"):
            assert len(bench.card.read(file)) == 256
        else:
            assert refused(lambda: bench.card.read(file)) == Sw.SECURITY
        if writes in (who, "any"):
            bench.card.update(bench.issuer, file, who.encode(), offset=7)
        else:
            assert refused(lambda: bench.card.update(bench.issuer, file, b"x")) == Sw.SECURITY


def test_a_file_keeps_what_was_written_where_it_was_written() -> None:
    bench = Bench()
    bench.card.update(bench.issuer, 6, b"first", offset=3)
    bench.card.update(bench.issuer, 6, b"IR", offset=4)
    bench.power()
    assert bench.card.read(6, size=10) == b"\0\0\0fIRst\0\0"
    assert bench.card.read(6, 5, 1) == b"R"
    assert bench.card.read(6, 250) == bytes(6)
    assert refused(lambda: bench.card.read(6, 250, 7)) == Sw.WRONG_PLACE
    assert refused(lambda: bench.card.update(bench.issuer, 6, b"1234567", offset=250)) == Sw.WRONG_PLACE
    assert refused(lambda: bench.card.read(5)) == Sw.NO_FILE
    assert bench.port.transmit(pack(CardIns.READ, p1=6, expected=1)) == Sw.WRONG_PLACE.to_bytes(2, "big")


def test_a_write_with_a_wrong_old_or_moved_mac_is_refused_and_counted() -> None:
    bench = Bench()
    content = b"the data"

    def mac(header: str = "04d686000c") -> bytes:
        return bench.issuer.mac(bench.card.challenge(), bytes.fromhex(header), content)

    def send(sent: bytes, what: bytes = content, file: int = 6, offset: int = 0) -> int:
        command = pack(CardIns.UPDATE, what + sent, p1=0x80 | file, p2=offset)
        return int.from_bytes(bench.port.transmit(command), "big")

    good = mac()
    assert send(good) == Sw.OK
    assert send(good) == Sw.CONDITIONS
    bench.card.challenge()
    assert send(good) == Sw.WRONG_MAC
    assert send(mac(), b"THE DATA") == Sw.WRONG_MAC
    assert send(mac(), offset=1) == Sw.WRONG_MAC
    assert send(mac("04d681000c")) == Sw.WRONG_MAC
    assert bench.card.read(6, size=8) == content
    assert bench.card.state().left == {Counter.FILE: TRIES[Counter.FILE] - 4}
    assert send(mac()) == Sw.OK
    assert bench.card.state().left == {}
    for _ in range(TRIES[Counter.FILE]):
        bench.card.challenge()
        assert send(bytes(4)) == Sw.WRONG_MAC
    assert bench.power().state().life == LOCKED


def test_what_is_read_under_a_mac_is_fresh_and_whole() -> None:
    bench = Bench()
    bench.card.update(bench.issuer, 6, b"a parameter")
    auth = bench.platform.enrolled_modules[WATER].keys.auth
    asked, header = b"8 random", bytes.fromhex("04b0860008")
    content, mac = bench.card.read_sealed(6, asked, size=11)
    assert content == b"a parameter"
    assert mac == cardkeys.read_mac(auth, asked, header, content)
    assert mac != bench.card.read_sealed(6, b"otherone", size=11)[1]
    assert mac != cardkeys.read_mac(auth, asked, header, b"A parameter")


# --- keys -------------------------------------------------------------------------------------------------


def test_a_sub_key_asks_for_the_right_of_its_slot_and_ends_with_it() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    bench.card.write_key(bench.issuer, 2, 1, ROOT_KEY, usage=ENCRYPT, levels=1, right=1)
    assert refused(lambda: bench.card.init_descrypt(2, bytes(8))) == Sw.SECURITY
    bench.card.verify(PIN)
    bench.card.init_descrypt(2, bytes(8))
    assert len(bench.card.descrypt(0, b"", bytes(32))) == 32
    refused(lambda: bench.card.verify("000000"))
    assert refused(lambda: bench.card.descrypt(0, b"", bytes(16))) == Sw.SECURITY
    assert bench.card.state().uses[Counter.SLOTS + 2] == 1


def test_descrypt_takes_whole_blocks_and_a_mac_any_bytes() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    bench.card.write_key(bench.issuer, 1, 1, ROOT_KEY, usage=ENCRYPT, levels=1)
    other = SymmetricKey.from_bytes(b"sixteen bytes 2.", "another")
    bench.card.write_key(bench.issuer, 2, 1, other, usage=AUTHENTICATE, levels=1)
    bench.card.init_descrypt(1, bytes(8))
    for content in (b"", bytes(15), bytes(17)):
        assert refused(lambda content=content: bench.card.descrypt(0, b"", content)) == Sw.WRONG_LENGTH
    bench.card.init_descrypt(2, bytes(8))
    assert len(bench.card.descrypt(5, b"", bytes(15))) == 4
    bench.power()
    assert refused(lambda: bench.card.descrypt(5, b"", bytes(15))) == Sw.CONDITIONS
    assert refused(lambda: bench.card.init_descrypt(7, bytes(8))) == Sw.NOT_FOUND


def test_no_card_command_gives_out_a_key() -> None:
    bench = Bench(suite=1)
    bench.card.external(bench.issuer)
    bench.card.write_key(bench.issuer, 0, 1, ROOT_KEY, usage=ENCRYPT, levels=1)
    bench.card.verify(PIN)
    known = bench.platform.enrolled_modules[WATER]
    auth = known.keys.auth
    secrets = [
        expose(key) for key in (known.bound, known.root, auth, known.keys.link, known.keys.command, ROOT_KEY)
    ]
    secrets += [expose(known.keys.evidence), expose(cardkeys.internal_key(auth))]
    secrets += [expose(cardkeys.external_key(auth, purpose)) for purpose in Purpose]
    secrets += [field(PIN), field(PUK)]
    bench.card.init_descrypt(0, b"LINK0001")
    for cla in (0x00, 0x04, 0x80, 0x84):
        for ins in range(256):
            for p1 in (0, 1, 0x81, 0x86):
                for content in (b"", bytes(8), b"\x01" * 20):
                    answer = bench.port.transmit(pack(ins, content, p1=p1, cla=cla, expected=256))
                    assert not any(secret in answer for secret in secrets)
    raw = b"".join(bench.store.pages.values())  # type: ignore[attr-defined]
    assert not any(secret in raw for secret in secrets)


# --- policy -----------------------------------------------------------------------------------------------


def test_the_devices_own_policy_wins_over_a_laxer_session() -> None:
    bench = Bench()
    bench.platform.policy = 0
    shake_hands(bench.platform, bench.chip)
    assert report() in bench.chip.seal(report(), NOW).record
    ask = encode.read_request(WATER, 0x901F)
    assert bench.chip.open(bench.platform.request(WATER, ask, plain=True), NOW).frames
    bench.card.external(bench.issuer)
    bench.card.put_policy(bench.issuer, 2)
    bench.power()
    assert (bench.chip.state().own_policy, bench.chip.state().policy) == (2, 2)
    assert report() not in bench.chip.seal(report(), NOW).record
    assert (
        refused(lambda: bench.chip.open(bench.platform.request(WATER, ask, plain=True), NOW)) == Sw.SECURITY
    )
    assert bench.chip.open(bench.platform.request(WATER, ask), NOW).frames
    (answer,) = bench.platform.receive(bench.chip.hello(NOW))
    (session,) = bench.platform.receive(bench.chip.platform(answer, NOW))
    assert bench.chip.session(session, NOW).policy == 2


@pytest.mark.parametrize(("policy", "plain", "cipher"), [(0, True, False), (1, True, True), (2, False, True)])
def test_sessions_refuse_what_their_policy_forbids(policy: int, plain: bool, cipher: bool) -> None:
    bench = Bench(pin=False)
    bench.platform.policy = policy
    shake_hands(bench.platform, bench.chip)
    assert (report() in bench.chip.seal(report(), NOW).record) == (policy == 0)
    for how, taken in ((True, plain), (False, cipher)):
        request = bench.platform.request(WATER, encode.read_request(WATER, 0x901F), plain=how)
        if taken:
            assert bench.chip.open(request, NOW).frames
        else:
            assert refused(lambda request=request: bench.chip.open(request, NOW)) == Sw.SECURITY


def test_evidence_and_control_are_cipher_under_every_policy() -> None:
    from tests.edge.test_module import freeze

    bench = Bench(pin=False)
    bench.platform.policy = 0
    shake_hands(bench.platform, bench.chip)
    sequence = bench.chip.sign(freeze(1))
    sealed = bench.chip.seal_evidence(1, sequence, NOW)
    bench.platform.receive(sealed.record)
    ((statement, _),) = bench.platform.statements
    assert statement not in sealed.record


def test_the_policy_is_set_by_the_issuer_alone_and_to_what_exists() -> None:
    bench = Bench()
    bench.card.verify(PIN)
    assert refused(lambda: bench.card.put_policy(bench.issuer, 2)) == Sw.SECURITY
    bench.card.external(bench.issuer)
    for policy in (0, 3):
        assert refused(lambda policy=policy: bench.card.put_policy(bench.issuer, policy)) == Sw.WRONG_DATA
    bench.card.challenge()
    assert (
        refused(lambda: call(bench.port, CardIns.PUT_POLICY, b"\x02" + bytes(4), p1=1, p2=0x50))
        == Sw.WRONG_MAC
    )
    assert bench.card.state().own_policy == 1


# --- commands and memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "content", "expected"),
    [
        ("00840000", b"", 0),
        ("0084000010", b"", 16),
        ("0084000000", b"", 256),
        ("00b08600000000", b"", 65536),
        ("04b0860008", b"", 8),
        ("04b086000831323334353637380b", b"12345678", 11),
        ("80fa000000000410203040", b"\x10\x20\x30\x40", 0),
        ("80fa0000000004102030400000", b"\x10\x20\x30\x40", 65536),
        ("80fa00000000041020304000", None, 0),
        ("80fa000002102000ff", None, 0),
        ("80fa00000010", None, 0),
    ],
)
def test_the_four_cases_of_a_command_and_what_is_none(
    command: str, content: bytes | None, expected: int
) -> None:
    parsed = parse(bytes.fromhex(command))
    assert (parsed is None) if content is None else (parsed is not None)
    if parsed is not None:
        assert (parsed.content, parsed.expected) == (content, expected)


def test_an_unknown_class_or_instruction_is_named_so() -> None:
    bench = Bench(pin=False)
    assert bench.port.transmit(bytes.fromhex("a0a40000")) == Sw.NO_CLASS.to_bytes(2, "big")
    assert bench.port.transmit(bytes.fromhex("00a40000")) == Sw.NO_INS.to_bytes(2, "big")


def test_a_pin_of_something_else_than_digits_never_leaves_the_desk() -> None:
    for text in ("12345", "123456789", "12a456", "１２３４５６"):
        with pytest.raises(LocalError):
            field(text)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_exchange_goes_on_from_the_page_it_saw_alone(kind: str, tmp_path: Path) -> None:
    store: NvStore = MemoryNv()
    if kind == "sqlite":
        store = SqliteNv(open_nv_database(str(tmp_path / "nv.db")), b"owner")
    assert not store.exchange("page", b"seen", b"new")
    assert store.exchange("page", None, b"first")
    assert not store.exchange("page", None, b"second")
    assert not store.exchange("page", b"other", b"second")
    assert store.exchange("page", b"first", b"second")
    assert store.read("page") == b"second"
    store.write({"page": None})
    assert store.exchange("page", None, b"third")
    assert store.read("page") == b"third"


def test_a_memory_file_that_broke_stops_the_module_and_raises_nothing(tmp_path: Path) -> None:
    connection = open_nv_database(str(tmp_path / "nv.db"))
    bench = Bench(SqliteNv(connection, b"module"))
    connection.close()
    assert refused(lambda: bench.card.verify(PIN)) == Sw.MEMORY
    assert refused(lambda: bench.card.verify(PIN)) == Sw.MEMORY


def test_a_page_that_others_write_without_end_gives_up() -> None:
    class Busy(MemoryNv):
        busy = False

        def exchange(self, name: str, before: bytes | None, after: bytes) -> bool:
            return not self.busy and super().exchange(name, before, after)

    store = Busy()
    bench = Bench(store)
    store.busy = True
    assert refused(lambda: bench.card.verify(PIN)) == Sw.MEMORY
    with pytest.raises(EngineError):
        bench.port._card.use(Counter.INTERNAL)
    store.busy = False
    bench.card.verify(PIN)


def test_a_key_is_refused_after_its_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from meterseal.edge import cardmemory

    monkeypatch.setattr(cardmemory, "USES", 2)
    bench = Bench(pin=False)
    for _ in range(2):
        bench.card.internal(bytes(16))
    assert refused(lambda: bench.card.internal(bytes(16))) == Sw.BLOCKED


def test_a_module_says_why_it_is_locked_to_nobody() -> None:
    bench = Bench()
    bench.card.external(bench.issuer, Purpose.LOCK)
    assert bench.port._card.state.locked == Cause.ORDER
    assert refused(lambda: bench.card.unblock(PUK, "123123")) == Sw.BLOCKED
    assert Platform().policy == 2


class Settling(MemoryNv):
    """Memory of which only what was settled survives a power cut of the machine."""

    def __init__(self) -> None:
        super().__init__()
        self.disk: dict[str, bytes] = {}

    def settle(self) -> None:
        self.disk = dict(self.pages)

    def machine_cut(self) -> None:
        self.pages = dict(self.disk)


def test_a_power_cut_of_the_whole_machine_takes_back_nothing_that_must_not_come_twice() -> None:
    store = Settling()
    bench = Bench(store)

    def cut() -> None:
        store.machine_cut()
        bench.power()

    shake_hands(bench.platform, bench.chip)
    used = [bench.chip.seal_control(0, NOW).counter for _ in range(70)]
    cut()
    assert bench.chip.seal(report(), NOW).counter > max(used)
    close = encode.valve_request(WATER, opened=False)
    assert bench.chip.open(bench.platform.command(WATER, close, 1, NOW + 1000), NOW).frames
    cut()
    assert bench.chip.open(bench.platform.command(WATER, close, 1, NOW + 1000), NOW).frames == ()
    refused(lambda: bench.card.verify("000000"))
    cut()
    assert bench.card.tries() == TRIES[Counter.PIN] - 1
    bench.card.external(bench.issuer)
    bench.card.write_key(bench.issuer, 0, 1, ROOT_KEY, usage=ENCRYPT, levels=1)
    bench.card.update(bench.issuer, 6, b"kept")
    bench.card.put_policy(bench.issuer, 2)
    cut()
    assert (bench.card.read(6, size=4), bench.card.state().own_policy) == (b"kept", 2)
    bench.card.init_descrypt(0, bytes(8))
    bench.card.external(bench.issuer, Purpose.LOCK)
    cut()
    assert bench.card.state().life == LOCKED
    bench.card.external(bench.issuer, Purpose.UNLOCK)
    bench.card.external(bench.issuer, Purpose.DESTROY)
    cut()
    assert bench.card.state().life == DESTROYED


def test_settling_brings_the_log_of_the_file_to_the_disk_once_per_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), fsync(file))[1])
    connection = open_nv_database(str(tmp_path / "nv.db"))
    store = SqliteNv(connection, b"module")
    bench = Bench(store)
    synced.clear()
    refused(lambda: bench.card.verify("000000"))
    assert synced == [(tmp_path / "nv.db-wal").stat().st_size]
    connection.execute("BEGIN")
    refused(lambda: bench.card.verify("000000"))
    assert len(synced) == 1
    connection.execute("COMMIT")
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError("the disk is gone")))
    assert refused(lambda: bench.card.verify("000000")) == Sw.MEMORY


def test_records_sealed_from_many_threads_never_share_a_counter() -> None:
    bench = Bench(pin=False)
    shake_hands(bench.platform, bench.chip)
    counters: list[int] = []

    def seal() -> None:
        for _ in range(40):
            record = bench.chip.seal_control(0, NOW).record
            counters.append(int.from_bytes(record[12:18], "big"))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=seal) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(counters) == list(range(1, 321))
