"""The keys doctor: every wrong link of the chain is named, both suites; and nobody but the operator hears it."""

from __future__ import annotations

import os

import msgspec
import pytest
from msgspec import structs

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError, TrustError
from meterseal.link import control, records
from meterseal.link.counters import CounterSet
from meterseal.link.schedule import TrafficKeys
from meterseal.link.transport import frame_message, pack_envelope
from meterseal.mesh.rpc import InProcess
from meterseal.security import messages as m
from meterseal.security.desks.diagnosis import BURST
from meterseal.security.hypotheses import FACTORY, Keys, guesses, projects_near
from meterseal.security.hypotheses import Guess as G
from meterseal.security.neighbours import near
from meterseal.security.sdk import SecuritySdk
from meterseal.security.symptoms import CHAIN, Diagnosis, SessionShown, Symptom
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret

from .conftest import DAY, NOW, PROJECT, Bench, Module

YEAR = 365 * DAY


def operator(bench: Bench) -> SecuritySdk:
    return SecuritySdk(InProcess(bench.service.methods(), "operator"))


async def look(bench: Bench, meter: bytes, message: bytes = b"", **more: object) -> Diagnosis:
    return await operator(bench).diagnose(
        structs.replace(Symptom(meter=meter, message=message), **more)
        if more
        else Symptom(meter=meter, message=message)
    )


def only(found: Diagnosis, *links: str) -> None:
    """Exactly these links are wrong, and every link is there in its order."""
    assert tuple(one.link for one in found.findings) == CHAIN
    assert found.wrong == links
    assert found.conclusion


def of(found: Diagnosis, link: str) -> tuple[str, str, str]:
    one = next(one for one in found.findings if one.link == link)
    return one.says, one.expected, one.found


def keyed(module: Module, bench: Bench, **guess: object) -> bytes:
    """A HELLO of this module under the key of another guess, as a module that was made wrongly sends it."""
    room = bench.service.room
    right = G(module.device_id, module.module_id, 1, PROJECT)
    bound = Keys(room.keys, PROJECT).bound(structs.replace(right, **guess))
    assert bound is not None
    module.k_bound = bound
    return module.run().hello(NOW)


suites = pytest.mark.parametrize("suite", [1, 2])


# --- HELLO: each link in turn


@suites
async def test_a_good_hello_has_no_wrong_link(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    found = await look(bench, module.device_id, module.run().hello(NOW))
    only(found)
    good = {one.link for one in found.findings if one.verdict == "good"}
    assert good == set(CHAIN) - {"counter"} - ({"certificate"} if suite == 2 else set())
    assert "check value" in of(found, "key version")[0]


@suites
async def test_wrong_address_low_byte_first(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    right = module.device_id
    module.device_id = right[:1] + right[1:][::-1]
    found = await look(bench, right, module.run().hello(NOW))
    only(found, "address")
    assert of(found, "address")[0].startswith("The byte order differs")
    assert of(found, "address")[1:] == (right.hex(), module.device_id.hex())


@suites
async def test_wrong_address_another_meters(bench: Bench, suite: int) -> None:
    module, other = await bench.module(1, suite), await bench.module(2, suite)
    found = await look(bench, module.device_id, other.run().hello(NOW))
    assert "address" in found.wrong
    assert "enrolled too" in of(found, "address")[0]


@suites
async def test_wrong_address_in_the_key_alone(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    turned = module.device_id[:1] + module.device_id[1:][::-1]
    found = await look(bench, module.device_id, keyed(module, bench, device_id=turned))
    only(found, "address")
    assert "low byte first" in of(found, "address")[0]
    assert of(found, "address")[1:] == (module.device_id.hex(), turned.hex())


@suites
async def test_wrong_type_of_meter(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    right = module.device_id
    module.device_id = b"\x30" + right[1:]
    found = await look(bench, right, module.run().hello(NOW))
    assert "address" in found.wrong
    assert "type" in of(found, "address")[0]


@suites
async def test_wrong_module_not_enrolled(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    enrolled, module.module_id = module.module_id, os.urandom(8)
    found = await look(bench, module.device_id, module.run().hello(NOW))
    only(found, "module")
    assert of(found, "module")[1] == enrolled.hex()


@suites
async def test_wrong_module_moved_from_another_meter(bench: Bench, suite: int) -> None:
    module, other = await bench.module(1, suite), await bench.module(2, suite)
    place, other.device_id = other.device_id, module.device_id
    found = await look(bench, module.device_id, other.run().hello(NOW))
    assert "module" in found.wrong
    assert place.hex() in of(found, "module")[0]
    assert of(found, "module")[1] == module.module_id.hex()


@suites
async def test_wrong_module_withdrawn(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    await bench.platform.withdraw(module.device_id, module.module_id)
    found = await look(bench, module.device_id, module.run().hello(NOW))
    assert "module" in found.wrong
    assert "withdrawn" in of(found, "module")[0]
    assert ("certificate" in found.wrong) == (suite == 1)


@suites
async def test_wrong_module_key_of_the_one_before(bench: Bench, suite: int) -> None:
    old = await bench.module(1, suite)
    await bench.platform.withdraw(old.device_id, old.module_id)
    new = Module(1, suite)
    new.module_id = b"\x09" * 8
    (given,) = await bench.platform.personalise_batch([new.request])
    new.take(given)
    new.k_bound = old.k_bound
    found = await look(bench, new.device_id, new.run().hello(NOW))
    only(found, "module")
    assert of(found, "module")[1:] == (new.module_id.hex(), old.module_id.hex())


@suites
@pytest.mark.parametrize("used", [2, 3])
async def test_wrong_key_version_in_the_key(bench: Bench, suite: int, used: int) -> None:
    module = await bench.module(1, suite)
    if used == 3:
        module.given = structs.replace(module.given, key_version=2)  # type: ignore[type-var]
    found = await look(bench, module.device_id, keyed(module, bench, version=used))
    only(found, "key version")
    assert of(found, "key version")[2].startswith(f"version {used}, check value ")


@suites
async def test_wrong_key_version_not_accepted(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    module.given = structs.replace(module.given, key_version=2)  # type: ignore[type-var]
    found = await look(bench, module.device_id, keyed(module, bench, version=2))
    only(found, "key version")
    assert of(found, "key version")[1] == "version 1"


@suites
@pytest.mark.parametrize("name", sorted(projects_near(PROJECT)))
async def test_wrong_region_or_project_entered(bench: Bench, suite: int, name: str) -> None:
    module = await bench.module(1, suite)
    other = projects_near(PROJECT)[name]
    if other == PROJECT:
        pytest.skip("this project id reads the same that way")
    found = await look(bench, module.device_id, keyed(module, bench, project_id=other))
    only(found, "region" if other[:8] != PROJECT[:8] else "project")
    link = found.wrong[0]
    assert of(found, link)[1] != of(found, link)[2]


@suites
async def test_wrong_project_that_was_given_to_try(bench: Bench, suite: int) -> None:
    module, other = await bench.module(1, suite), os.urandom(16)
    hello = keyed(module, bench, project_id=other)
    only(await look(bench, module.device_id, hello), "project")  # no guess holds
    found = await look(bench, module.device_id, hello, projects=(other,))
    only(found, "region", "project")
    assert of(found, "project")[2] == other[8:].hex()


@suites
async def test_wrong_key_of_no_project_at_all(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    module.k_bound = SymmetricKey.generate("a stranger's")
    found = await look(bench, module.device_id, module.run().hello(NOW))
    only(found, "project")
    assert "another root" in of(found, "project")[0]


@suites
@pytest.mark.parametrize("name", sorted(FACTORY))
async def test_wrong_key_still_the_factorys(bench: Bench, suite: int, name: str) -> None:
    module = await bench.module(1, suite)
    module.k_bound = SymmetricKey.from_bytes(FACTORY[name], "factory")
    found = await look(bench, module.device_id, module.run().hello(NOW))
    only(found, "key version")
    assert "never personalised" in of(found, "key version")[0]


@suites
async def test_two_mistakes_at_once_are_both_named(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    other = projects_near(PROJECT)["project number left empty"]
    found = await look(bench, module.device_id, keyed(module, bench, version=2, project_id=other))
    only(found, "key version", "project")


async def test_wrong_certificate_ended(bench: Bench) -> None:
    module = await bench.module(1)
    bench.clock.now = NOW + 21 * YEAR
    found = await look(bench, module.device_id, module.run().hello(NOW))
    assert "certificate" in found.wrong
    assert of(found, "certificate")[2] == "crypto.ended"


async def test_wrong_profile_another_suite(bench: Bench) -> None:
    module = await bench.module(1, 1)
    module.suite = 2
    found = await look(bench, module.device_id, module.run().hello(NOW))
    only(found, "profile")
    assert of(found, "profile")[1:] == ("suite 1", "suite 2")


# --- records


class Line:
    """A session of one module, and what the platform keeps of it."""

    def __init__(self, module: Module, keys: TrafficKeys, reply: m.SessionReply) -> None:
        self.module, self.keys = module, keys
        self.shown = SessionShown(
            session_id=reply.session_id,
            device_id=reply.device_id,
            module_id=reply.module_id,
            wrapped=reply.wrapped,
            policy=reply.policy,
            consumed=CounterSet([1, 2, 3]).to_bytes(),
        )

    def frame(self, data: bytes = bytes.fromhex("1f9000007766552c007766552c31012211051520 2184")) -> bytes:
        return Frame("cjt188", 0x10, self.module.device_id[:0:-1], 0x81, data).encode()

    def record(self, counter: int = 4, **how: bool) -> bytes:
        up = how.pop("up", True)
        return records.seal_record(self.keys, self.shown.session_id, counter, [self.frame()], up=up, **how)


async def line(bench: Bench, number: int = 1, suite: int = 1) -> Line:
    module = await bench.module(number, suite)
    session, reply = await bench.shake(module)
    return Line(module, session.keys, reply)


@suites
async def test_a_good_record_has_no_wrong_link(bench: Bench, suite: int) -> None:
    one = await line(bench, suite=suite)
    for message in (
        one.record(),
        frame_message(one.record()),
        pack_envelope(one.module.device_id, one.record()),
    ):
        found = await look(bench, one.module.device_id, message, sessions=(one.shown,))
        only(found)
        assert found.kind == "record"
    word = control.seal_control(one.keys, one.shown.session_id, 5, control.ping(), up=True)
    only(await look(bench, one.module.device_id, word, sessions=(one.shown,)))


@suites
async def test_wrong_counter_used_before(bench: Bench, suite: int) -> None:
    one = await line(bench, suite=suite)
    found = await look(bench, one.module.device_id, one.record(2), sessions=(one.shown,))
    only(found, "counter")
    assert of(found, "counter")[2] == "2"


@suites
async def test_wrong_keys_of_an_older_session(bench: Bench, suite: int) -> None:
    one = await line(bench, suite=suite)
    bench.clock.now += DAY
    session, reply = await bench.shake(one.module)
    newer = Line(one.module, session.keys, reply)
    message = records.seal_record(one.keys, newer.shown.session_id, 4, [one.frame()], up=True)
    found = await look(bench, one.module.device_id, message, sessions=(newer.shown, one.shown))
    only(found, "key version")
    assert of(found, "key version")[1:] == (
        f"session {newer.shown.session_id.hex()}",
        f"session {one.shown.session_id.hex()}",
    )


@suites
async def test_wrong_session_not_stored(bench: Bench, suite: int) -> None:
    one = await line(bench, suite=suite)
    found = await look(bench, one.module.device_id, one.record())
    only(found, "key version")
    assert of(found, "key version")[2] == one.shown.session_id.hex()


@suites
async def test_a_changed_record_is_told_from_one_under_other_keys_of_ours(bench: Bench, suite: int) -> None:
    one = await line(bench, suite=suite)
    message = bytearray(one.record())
    message[30] ^= 1
    found = await look(bench, one.module.device_id, bytes(message), sessions=(one.shown,))
    only(found, "key version")
    assert "changed on the way" in of(found, "key version")[0]


@suites
async def test_wrong_way_reflected(bench: Bench, suite: int) -> None:
    one = await line(bench, suite=suite)
    message = bytearray(one.record(up=False))
    message[3] = records.WANTED  # says up, sealed as down
    found = await look(bench, one.module.device_id, bytes(message), sessions=(one.shown,))
    assert "profile" in found.wrong
    assert "reflected" in of(found, "profile")[0]


@suites
async def test_wrong_profile_plain_under_cipher_only(bench: Bench, suite: int) -> None:
    one = await line(bench, suite=suite)
    found = await look(bench, one.module.device_id, one.record(plain=True), sessions=(one.shown,))
    only(found, "profile")
    plain_only = structs.replace(one.shown, policy=0)
    only(await look(bench, one.module.device_id, one.record(plain=True), sessions=(plain_only,)))
    only(await look(bench, one.module.device_id, one.record(), sessions=(plain_only,)), "profile")


@pytest.mark.parametrize("name", [name for name, _ in near()][1:])
async def test_wrong_profile_one_choice_away(bench: Bench, name: str) -> None:
    """Padding, IV, scope or tag of another profile: told from wrong keys, and named."""
    one = await line(bench, suite=2)
    profile = dict(near())[name]
    message = records.seal_record(one.keys, one.shown.session_id, 4, [one.frame()], up=True, profile=profile)
    found = await look(bench, one.module.device_id, message, sessions=(one.shown,))
    only(found, "profile")
    assert of(found, "profile")[1] == "meterseal-1"
    assert of(found, "profile")[2].startswith("meterseal-1 but ")


async def test_a_wrong_iv_is_named_even_where_the_spoiled_identifier_is_one_of_the_table(
    bench: Bench,
) -> None:
    """One first block in a hundred decrypts to a known identifier; what stands behind it is still no reading."""
    one = await line(bench, suite=2)
    wrong = dict(near())["meterseal-1 but iv zero"]
    for counter in range(4, 5000):  # shaking hands used those before
        frames = [one.frame()]
        message = records.seal_record(one.keys, one.shown.session_id, counter, frames, up=True, profile=wrong)
        header = records.parse_header(message)
        (read,) = records.open_frames(one.keys, header, records.parse_body(header, message))
        if interpret(read).recognised:
            break
    else:
        pytest.fail("no counter gave a known identifier")
    only(await look(bench, one.module.device_id, message, sessions=(one.shown,)), "profile")


@suites
async def test_wrong_address_of_the_session(bench: Bench, suite: int) -> None:
    one, other = await line(bench, 1, suite), await line(bench, 2, suite)
    found = await look(bench, one.module.device_id, other.record(), sessions=(one.shown, other.shown))
    assert found.wrong == ("address", "module")


@suites
async def test_wrong_address_of_a_frame_inside(bench: Bench, suite: int) -> None:
    one = await line(bench, suite=suite)
    right = one.module.device_id
    turned = right[:1] + right[1:][::-1]
    frame = Frame("cjt188", 0x10, turned[:0:-1], 0x81, b"\x1f\x90\x00").encode()
    message = records.seal_record(one.keys, one.shown.session_id, 4, [frame], up=True)
    found = await look(bench, right, message, sessions=(one.shown,))
    only(found, "address")
    assert "byte order" in of(found, "address")[0]


async def test_wrong_module_of_the_session(bench: Bench) -> None:
    one = await line(bench)
    await bench.platform.withdraw(one.module.device_id, one.module.module_id)
    only(await look(bench, one.module.device_id, one.record(), sessions=(one.shown,)), "module")


async def test_a_session_whose_keys_were_destroyed_is_not_checkable(bench: Bench) -> None:
    one = await line(bench)
    gone = structs.replace(one.shown, wrapped=b"")
    found = await look(bench, one.module.device_id, one.record(), sessions=(gone,))
    only(found)
    assert "destroyed" in of(found, "key version")[0]


# --- envelopes, frames in clear, damaged bytes


async def test_wrong_address_of_the_envelope(bench: Bench) -> None:
    module = await bench.module(1)
    message = pack_envelope(bytes(8), module.run().hello(NOW))
    found = await look(bench, module.device_id, message)
    only(found, "address")
    assert "envelope" in of(found, "address")[0]


async def test_frames_in_clear_show_address_and_protocol(bench: Bench) -> None:
    one = await line(bench)
    right = one.module.device_id
    only(await look(bench, right, b"\xfe\xfe" + one.frame()))
    turned = Frame("cjt188", 0x10, right[1:], 0x81, b"\x1f\x90\x00").encode()
    found = await look(bench, right, turned)
    only(found, "address")
    assert "byte order" in of(found, "address")[0]
    power = Frame("dlt645", 0, bytes(6), 0x91, bytes(4)).encode()
    assert (await look(bench, right, power)).wrong == ("address", "profile")
    assert {one.verdict for one in (await look(bench, right, power)).findings[2:6]} == {"unchecked"}


@pytest.mark.parametrize(
    "message", [b"MS\x01\x01\x00\x01x", b"MR\x01", b"\x68\x10", b"abc", b"MS\x01\x01", b"MT\x01"]
)
async def test_damaged_bytes_are_called_so(bench: Bench, message: bytes) -> None:
    module = await bench.module(1)
    found = await look(bench, module.device_id, message)
    assert found.kind == "unreadable"
    assert found.wrong == ()
    assert {one.verdict for one in found.findings} == {"unchecked"}


async def test_other_handshake_messages_ask_for_a_hello(bench: Bench) -> None:
    module = await bench.module(1)
    run = module.run()
    platform = await bench.headend.hello(run.hello(NOW))
    found = await look(bench, module.device_id, run.platform(platform.message, NOW))
    assert found.kind == "DEVICE"
    assert "HELLO" in found.conclusion


# --- without a message, and the desk's own rules


@suites
async def test_without_a_message_the_last_refused_hello_is_looked_at(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    hello = keyed(module, bench, version=2)
    with pytest.raises(TrustError):
        await bench.headend.hello(hello, "10.0.0.9")
    found = await look(bench, module.device_id)
    assert found.kind == "HELLO"
    only(found, "key version")
    assert [(one.code, one.source) for one in found.refusals] == [("link.hello-mac", "10.0.0.9")]


async def test_after_a_restart_the_refusals_themselves_are_left(bench: Bench) -> None:
    module = await bench.module(1)
    with pytest.raises(TrustError):
        await bench.headend.hello(keyed(module, bench, version=2))
    bench = bench.restarted()
    found = await look(bench, module.device_id)
    assert found.kind == "refusals"
    only(found, "key version")
    found = await look(bench, bytes(8))
    only(found)
    assert "show a message" in found.conclusion


async def test_only_the_operator_is_answered(bench: Bench) -> None:
    for caller in ("headend", "platform", "web", ""):
        sdk = SecuritySdk(InProcess(bench.service.methods(), caller))
        with pytest.raises(Exception, match="does not answer") as caught:
            await sdk.diagnose(Symptom(meter=bytes(8)))
        assert getattr(caught.value, "code", "") == "mesh.denied"


async def test_each_question_is_written_down_with_its_outcome(bench: Bench) -> None:
    module = await bench.module(1)
    await look(bench, module.device_id, keyed(module, bench, version=2))
    last = (await bench.platform.audit(newest=True, limit=1))[0].entry
    assert (last.code, last.caller, last.device_id) == ("security.diagnosed", "operator", module.device_id)
    assert "key version" in last.sentence


async def test_too_many_questions_are_refused_and_time_gives_them_back(bench: Bench) -> None:
    for _ in range(BURST):
        await look(bench, bytes(8))
    with pytest.raises(LocalError) as caught:
        await look(bench, bytes(8))
    assert caught.value.code == "security.rate"
    bench.clock.now += 2_000
    await look(bench, bytes(8))


@pytest.mark.parametrize(
    "symptom",
    [
        Symptom(meter=b"short", message=b"x"),
        Symptom(meter=bytes(8), message=bytes(8193)),
        Symptom(meter=bytes(8), message=b"x", projects=(b"short",)),
        Symptom(meter=bytes(8), message=b"x", projects=(bytes(16),) * 9),
    ],
    ids=["meter", "message", "project", "projects"],
)
async def test_a_symptom_out_of_bounds_is_refused(bench: Bench, symptom: Symptom) -> None:
    with pytest.raises(LocalError) as caught:
        await operator(bench).diagnose(symptom)
    assert caught.value.code == "security.request"


async def test_no_answer_carries_a_key_or_a_mac_of_one(bench: Bench) -> None:
    module = await bench.module(1)
    hello = module.run().hello(NOW)
    raw = msgspec.json.encode(await look(bench, module.device_id, hello)).decode()
    from meterseal.crypto.expose import expose

    key = expose(module.k_bound)
    for secret in (key.hex(), key.hex()[8:24], hello[-17:-1].hex()):
        assert secret not in raw


async def test_asking_changes_nothing_but_counts_and_the_log(bench: Bench) -> None:
    module = await bench.module(1)
    before = bench.service.room.registry.module(module.module_id)
    used = {(one.id, one.version): one.used for one in (await bench.platform.usage()).keys}
    await look(bench, module.device_id, keyed(module, bench, version=2))
    assert bench.service.room.registry.module(module.module_id) == before
    after = {(one.id, one.version): one.used for one in (await bench.platform.usage()).keys}
    changed = {key for key in used if used[key] != after[key]} - {("AUDIT", 1)}
    assert changed <= {("PROJECT", 1), ("DEVICE-CA", 1)}


def test_guesses_begin_with_what_was_expected_and_are_bounded() -> None:
    expected = G(bytes(8), bytes(8), 1, bytes(16))
    many = [n.to_bytes(8) for n in range(60)]
    order = guesses(expected, devices=many, modules=many, versions=range(300), projects=[])
    assert order[0] == expected
    assert len(order) <= 6_000
    assert [one.mistakes(expected) for one in order] == sorted(one.mistakes(expected) for one in order)
