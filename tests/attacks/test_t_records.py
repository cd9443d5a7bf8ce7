"""The trial list of records (T1, T2, T4, T5, T6): messages through the whole head-end, and the platform's state.

The state is everything that security service and platform keep but their own notes of what they refused: a refused
message leaves every row of it as it was. Sizes are cut in the default run and full under `make soak`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
import sqlalchemy as sa

from meterseal.control import read
from meterseal.control.tables import metadata
from meterseal.crypto.symmetric import sm3
from meterseal.errors import TrustError
from meterseal.headend import pipeline
from meterseal.headend.pipeline import Arrival
from meterseal.link import control, messages, records
from meterseal.link.counters import CounterSet
from tests.attacks.test_head_end_in_wrong_hands import Stolen, next_freeze
from tests.attacks.whole import DAY, HOUR, SINCE, WATER, Device, Line, Whole
from tests.wire import built

OWN_NOTES = {"refusals"}
"""Tables in which a refusal is written down; everything else must stay as it is."""
ANSWERING = {"down_reserved", "owner_epoch", "reserved", "leased", "skipped"}
"""Columns that an answer moves: a replay under a good tag gets its answer again, under a down counter of its own."""


async def digest(whole: Whole, *, answered: bool = False) -> bytes:
    """SM3 over every row of the platform's store and what measurements counted, notes of refusals left out."""
    await whole.mdms.settle()
    parts = [repr(whole.mdms.counts()).encode()]
    with read(whole.engine) as connection:
        for table in sorted(metadata.tables.values(), key=lambda one: one.name):
            if not any(name in table.name for name in OWN_NOTES):
                columns = [one for one in table.columns if not answered or one.name not in ANSWERING]
                rows = connection.execute(sa.select(*columns)).all()
                parts.append(
                    table.name.encode() + b"".join(sorted(repr(tuple(row)).encode() for row in rows))
                )
    return sm3(*parts)


def report(device: Device, at: int, volume: int) -> bytes:
    return built.current_data_answer(device.device_id, built.volume_payload(volume, 0, at)).encode()


async def accepted(whole: Whole, device: Device, count: int) -> list[bytes]:
    """So many records, each delivered and acknowledged."""
    sent = []
    for at in range(count):
        whole.clock.now += 1_000
        sealed = device.chip.seal(report(device, whole.clock.now, at), whole.clock.now)
        (ack,) = await whole.send(sealed.record)
        assert device.chip.open(ack, whole.clock.now).done == (sealed.counter,)
        sent.append(sealed.record)
    return sent


async def replayed(whole: Whole, sent: Sequence[bytes]) -> None:
    """Each once more: it gets its answer again, and that is all."""
    await whole.mdms.compact()  # which an hour of replays would bring about as well, whatever was replayed
    before = await digest(whole, answered=True)
    for record in sent:
        whole.clock.now += 200
        assert len(await whole.send(record)) == 1
    assert await digest(whole, answered=True) == before


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_t1_no_replayed_record_counts_again(
    whole: Whole, devices: dict[bytes, Device], count: int
) -> None:
    """At once, after every process started again, and a day later."""
    device = devices[WATER]
    await whole.shake(device)
    sent = await accepted(whole, device, count)
    assert whole.mdms.counts().records == count
    await replayed(whole, sent)
    await whole.restart("headend", "keys", "platform")
    await replayed(whole, sent)
    whole.clock.now += DAY
    await replayed(whole, sent)
    assert whole.mdms.counts().records == count
    assert await accepted(whole, device, 1)


async def test_t1_no_replayed_down_record_is_taken_again(whole: Whole, devices: dict[bytes, Device]) -> None:
    device = devices[WATER]
    await whole.shake(device)
    answers = []
    for at in range(20):
        sealed = device.chip.seal(report(device, whole.clock.now, at), whole.clock.now)
        (ack,) = await whole.send(sealed.record)
        device.chip.open(ack, whole.clock.now)
        answers.append(ack)
    for repower in (False, True):
        if repower:
            device.repower()
        for ack in answers:
            with pytest.raises(TrustError):
                device.chip.open(ack, whole.clock.now)


async def test_t2_a_module_set_back_to_an_old_copy_adds_nothing_and_raises_the_alarm(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """Its counters run again over other readings: refused as replays, and the audit log names the meter."""
    device = devices[WATER]
    await whole.shake(device)
    old = dict(device.nv.pages)
    await accepted(whole, device, 80)  # past the counters that were reserved when the copy was made
    before = await digest(whole, answered=True)
    device.nv.pages = old
    device.repower()
    for at in range(10):
        sealed = device.chip.seal(report(device, whole.clock.now, 90_000 + at), whole.clock.now)
        await whole.send(sealed.record)
    assert await digest(whole, answered=True) == before
    alarms = [one for one in whole.audit.latest() if one.code == "link.replay"]
    assert {one.device_id for one in alarms} == {WATER}
    assert len(alarms) == 10


async def test_t2_a_module_plugged_again_skips_counters_and_repeats_none(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    device = devices[WATER]
    await whole.shake(device)
    used: list[int] = []
    for _ in range(12):
        for record in await accepted(whole, device, 3):
            used.append(records.parse_header(record).counter)
        device.repower()
    assert used == sorted(set(used))
    assert whole.mdms.counts().records == len(used)


async def test_t2_a_platform_set_back_to_an_old_copy_counts_no_older_record_again(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """The control store and the measurements as they were before the last records: what they hold stays counted once."""
    import shutil

    device = devices[WATER]
    await whole.shake(device)
    sent = await accepted(whole, device, 20)
    await whole.mdms.compact()
    await whole.restart("platform")
    copy = whole.root.with_name("copy")
    shutil.copytree(whole.root, copy)
    held = whole.mdms.counts().readings
    await accepted(whole, device, 10)
    whole.put_back = copy
    await whole.restart("platform", "headend")
    assert whole.mdms.counts().readings == held
    before = await digest(whole, answered=True)
    for record in sent:
        assert len(await whole.send(record)) == 1
    assert await digest(whole, answered=True) == before


async def kinds(whole: Whole, device: Device) -> dict[str, bytes]:
    """One record of each kind that goes up, none of them delivered yet."""
    now = whole.clock.now
    sequence = device.chip.sign(next_freeze(device))
    return {
        "frames": device.chip.seal(report(device, now, 5), now).record,
        "profile": device.chip.seal(
            b"".join(one.encode() for one in device.meter.interval_frames(SINCE, SINCE + 12 * HOUR)), now
        ).record,
        "evidence": device.chip.seal_evidence(1, sequence, now).record,
        "ping": device.chip.seal_control(control.PING, now).record,
    }


EVERY = [pytest.param(7, id="cut"), pytest.param(1, id="full", marks=pytest.mark.soak)]


@pytest.mark.parametrize("step", EVERY)
async def test_t4_no_flipped_bit_changes_anything(
    whole: Whole, devices: dict[bytes, Device], step: int
) -> None:
    """Every bit of header, ciphertext and tag of a record of each kind (every seventh in the default run), and of
    another hundred frames in the full run."""
    device = devices[WATER]
    await whole.shake(device)
    made = await kinds(whole, device)
    now = whole.clock.now
    for at in range(0, 100 if step == 1 else 0, 10):
        frames = b"".join(report(device, now - 1_000 * (at + one), 7) for one in range(10))
        made[f"frames {at}"] = device.chip.seal(frames, now).record
    before = await digest(whole)
    for record in made.values():
        for bit in range(0, 8 * len(record), step):
            changed = bytearray(record)
            changed[bit // 8] ^= 1 << bit % 8
            assert await whole.send(bytes(changed)) == []
            whole.clock.now += 20
    assert await digest(whole) == before
    for record in made.values():
        assert await whole.send(record)


@pytest.mark.parametrize("step", EVERY)
async def test_t4_no_flipped_bit_of_a_handshake_opens_a_session(
    whole: Whole, devices: dict[bytes, Device], step: int
) -> None:
    """HELLO and DEVICE through the head-end: silence, no session, no use of a key."""
    device = devices[WATER]
    now = whole.clock.now
    hello = device.chip.hello(now)
    (platform,) = await whole.send(hello)
    sealed = device.chip.platform(platform, now)
    before = await digest(whole)
    for message in (hello, sealed):
        for bit in range(0, 8 * len(message), 8 * step + 1):
            changed = bytearray(message)
            changed[bit // 8] ^= 1 << bit % 8
            answers = await whole.send(bytes(changed), line=Line(f"192.0.2.{bit % 250}"))
            assert [one for one in answers if one[3] != messages.RETRY and one != platform] == []
            whole.clock.now += 20  # all of them before the handshake's time is out
    assert await digest(whole) == before
    assert await whole.send(sealed)


@pytest.mark.parametrize("step", EVERY)
async def test_t5_no_other_length_changes_anything(
    whole: Whole, devices: dict[bytes, Device], step: int
) -> None:
    """Every length from none to 32 bytes too many, of a record of each kind; nothing but a refusal comes of it."""
    device = devices[WATER]
    await whole.shake(device)
    made = await kinds(whole, device)
    before = await digest(whole)
    for record in made.values():
        for length in range(0, len(record) + 33, step if step == 1 else 3):
            if length != len(record):
                assert await whole.send((record + os.urandom(32))[:length]) == []
                whole.clock.now += 20
    assert await digest(whole) == before
    assert whole.uplinks[0].counts["dropped"] == 0
    for record in made.values():
        assert await whole.send(record)


async def test_t6_every_refusal_is_the_same_silence(whole: Whole, devices: dict[bytes, Device]) -> None:
    """Without the session's keys nobody learns anything: bad tag over good or bad padding, unknown session, old key,
    bad length, used counter under a bad tag."""
    device = devices[WATER]
    old = await whole.shake(device)
    now = whole.clock.now
    earlier = device.chip.seal(report(device, now, 1), now).record
    await whole.shake(device)
    good = device.chip.seal(report(device, now, 2), now).record
    (ack,) = await whole.send(good)
    device.chip.open(ack, now)
    _, keys = await Stolen(whole).session(old)
    session_id = device.chip.state().session_id
    tries = {
        "bad tag, good padding": good[:-1] + bytes((good[-1] ^ 1,)),
        "bad tag, bad padding": good[:40] + bytes((good[40] ^ 1,)) + good[41:],
        "bad tag, new counter": good[:17] + b"\x99" + good[18:],
        "unknown session": good[:4] + os.urandom(8) + good[12:],
        "keys of an older session": records.seal_record(
            keys, session_id, 77, [report(device, now, 3)], up=True
        ),
        "bad length": good[:18] + b"\x00\x01" + good[20:],
        "no record": b"MR\x01",
        "the way down": ack,
        "older session, bad tag": earlier[:-1] + bytes((earlier[-1] ^ 1,)),
    }
    assert {name: await whole.send(message) for name, message in tries.items()} == {
        name: [] for name in tries
    }


def effect(one: np.ndarray, other: np.ndarray) -> float:
    """Rank statistic of Mann and Whitney as an effect size, 0 (no difference) to 1."""
    both = np.concatenate([one, other])
    order = both.argsort(kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    ranks = (ends - (counts - 1) / 2)[inverse]
    u = ranks[: len(one)].sum() - len(one) * (len(one) + 1) / 2
    return float(abs(2 * u / (len(one) * len(other)) - 1))


@pytest.mark.parametrize(
    ("samples", "most"),
    [(2_000, 0.35), pytest.param(50_000, 0.02, marks=pytest.mark.soak)],
    ids=["smoke", "full"],
)
async def test_t6_a_bad_tag_takes_as_long_over_good_as_over_bad_padding(
    whole: Whole, devices: dict[bytes, Device], samples: int, most: float
) -> None:
    """Interleaved in random order; the default run only sees that nothing is decrypted before the tag."""
    device = devices[WATER]
    session_id = await whole.shake(device)
    facts, keys = await Stolen(whole).session(session_id)
    record = device.chip.seal(report(device, whole.clock.now, 2), whole.clock.now).record
    bad_tag = record[:-1] + bytes((record[-1] ^ 1,))
    bad_pad = record[:-17] + bytes((record[-17] ^ 0x55,)) + record[-16:]
    classes = [Arrival(message, "192.0.2.1", b"", b"", whole.clock.now) for message in (bad_tag, bad_pad)]
    taken: tuple[list[int], list[int]] = ([], [])
    consumed, random = CounterSet(), Random(1)
    for _ in range(2 * samples):
        which = random.getrandbits(1)
        arrival = classes[which]
        began = time.perf_counter_ns()
        header = pipeline.read_header(arrival)
        verdict = pipeline.prove(arrival, header, facts, keys, consumed)  # type: ignore[arg-type]
        taken[which].append(time.perf_counter_ns() - began)
        assert isinstance(verdict, pipeline.Refused)
    assert effect(np.array(taken[0]), np.array(taken[1])) < most
