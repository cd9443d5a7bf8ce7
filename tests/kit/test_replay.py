"""Captured answers of real meters, vouched for by a concentrator; and modules from the factory to their
memory.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from meterseal.edge import making
from meterseal.edge.chip import Chip
from meterseal.edge.concentrator import Concentrator, MeterAt, Up
from meterseal.edge.memories import STORAGE_KEY, Memories
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.errors import LocalError, TrustError
from meterseal.headend.findings import is_alarm, raised
from meterseal.kit import factory
from meterseal.kit.plan import make_plan
from meterseal.kit.replay import CapturedBus, load_captured
from meterseal.wire.decode import decode
from meterseal.wire.frame import Frame, parse_frame
from tests.crypto.pki import NOW
from tests.edge.field import CONCENTRATOR, PACE, TIMING
from tests.edge.platform import STORAGE, Platform
from tests.kit.test_street import personalisation

VECTORS = Path(__file__).parent.parent / "vectors" / "frames.jsonl"


def vouched(path: Path) -> list[Frame]:
    """Everything a platform gets from a concentrator on a bus with the captured meters of a file."""
    platform, sent = Platform(), list[Up]()
    platform.module(CONCENTRATOR, b"concentr", store=(memory := MemoryNv()))
    captured = load_captured(path)
    bus = CapturedBus(captured)
    pace = type(PACE)(answer=200, rest=20, longest_rest=100, plain=100)
    concentrator = Concentrator(
        device_id=CONCENTRATOR,
        chip=Chip(Module(SealedNv(memory, STORAGE, b"concentr"))),
        store=SealedNv(MemoryNv(), STORAGE, b"held"),
        risers=[[MeterAt(device_id=one.device_id, plain=True) for one in captured]],
        pace=pace,
        timing=TIMING,
        jitter=lambda: 0.5,
        send=sent.append,
    )
    concentrator.reach(True)
    (riser,) = concentrator.risers
    for step in range(3_000):
        now = NOW + 10 * step
        request = riser.request(now)
        if request is not None:
            assert riser.answer(bus.answer(parse_frame(request)[0], now), now)
        concentrator.speak(now)
        while sent:
            up = sent.pop(0)
            for message in platform.receive(up.message):
                concentrator.receive(up.device_id, message, now)
    assert len(concentrator.outbox) == 0
    return [frame for _, frame in platform.frames]


def test_every_captured_answer_arrives_once_and_unchanged() -> None:
    expected = set()
    for line in VECTORS.read_text().splitlines():
        vector = json.loads(line)
        found = decode(vector["hex"])
        frame = found.found.frame
        if frame is None or frame.control & 0xC0 != 0x80 or not frame.data or b"\xaa" * 6 in frame.address:
            continue
        if frame.protocol == "dlt645" or frame.meter_type >> 4 in (1, 2, 3):
            expected.add(frame.encode())
    came = vouched(VECTORS)
    assert len(expected) > 50
    assert sorted(frame.encode() for frame in came if not is_alarm(frame)) == sorted(expected)
    # And what their status words raise the alarm about.
    told = [code for frame in came if is_alarm(frame) for code, _ in raised(frame, bytes(8))]
    assert sorted(told) == ["meter.battery", "meter.valve", "meter.valve"]


def test_captured_meters_say_what_must_be_enrolled(tmp_path: Path) -> None:
    file = tmp_path / "captured.txt"
    file.write_text(
        "# two answers of one meter, a request, noise\n"
        "FEFEFE68104433221100337881161F9000007766552C007766552C31012211051520218413 16\n"
        "68104433221100337803030A81003116\n"
        "not a frame\n"
        '{"hex": "68104433221100337881161F9000007866552C007766552C31012211051520218414 16"}\n'
    )
    (one,) = load_captured(file)
    assert (one.device_id.hex(), one.medium, one.protocol) == ("1078330011223344", "water", "cjt188")
    assert len(one.answers) == 2
    assert len(vouched(file)) == 2


def test_a_file_without_answers_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("FE FE\n")
    with pytest.raises(LocalError, match="no readable answer"):
        load_captured(tmp_path / "empty")
    with pytest.raises(LocalError, match="cannot be read"):
        load_captured(tmp_path / "none")


def test_modules_are_made_once_and_personalised_once(tmp_path: Path) -> None:
    plan = make_plan(until=NOW, dwellings=1, days=1)
    platform = Platform()
    made = factory.manufacture(tmp_path, plan)
    assert factory.manufacture(tmp_path, plan) == made
    assert [one.device_id for one in made] == [meter.device_id for meter in plan.meters]
    papers = [personalisation(platform, one) for one in made]
    assert making.personalise(tmp_path, papers) == 4
    assert making.personalise(tmp_path, papers) == 0
    assert stat.S_IMODE((tmp_path / STORAGE_KEY).stat().st_mode) == 0o600
    memories = Memories(tmp_path)
    assert memories.chip(made[0].module_id).state().device_id == made[0].device_id
    memories.close()


def test_a_copied_module_in_another_meter_is_refused_by_its_mac(tmp_path: Path) -> None:
    plan = make_plan(until=NOW, dwellings=1, days=1)
    platform = Platform()
    made = factory.manufacture(tmp_path / "street", plan)
    making.personalise(tmp_path / "street", [personalisation(platform, one) for one in made])
    copy = factory.copy_module(tmp_path / "street", made[0].module_id, made[1].device_id, tmp_path / "thief")
    hello = copy.hello(NOW)
    assert hello[7:15] == made[1].device_id
    with pytest.raises(TrustError):
        platform.receive(hello)
    with pytest.raises(LocalError, match="personalise it first"):
        factory.copy_module(tmp_path / "street", b"nobody!!", made[1].device_id, tmp_path / "thief")
