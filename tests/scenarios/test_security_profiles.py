"""Meters with different security profiles in one system, and what becomes of a record under another one.

Two of the profiles are tests: a guess at CJ/T 188-2018, clause 7, that nobody has confirmed, and one that is no standard.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import Ins, Sw, pack
from meterseal.edge.chip import Chip, Personal
from meterseal.edge.image import State, state_to_bytes
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.errors import LocalError, TrustError
from meterseal.headend.pipeline import DOES_NOT_DECODE, POLICY
from meterseal.link import profiles, records
from meterseal.mesh.rpc import OPERATOR, InProcess
from meterseal.security import neighbours
from meterseal.security.messages import PersonaliseRequest
from meterseal.security.orders import SignedOrder, encoded, sign
from meterseal.security.papers import LowerPolicy
from meterseal.security.sdk import SecuritySdk
from meterseal.security.symptoms import SessionShown, Symptom
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import parse_frame
from meterseal.wire.meaning import interpret
from tests.link.test_profiles import FOLDER
from tests.scenarios.small_system import ELECTRIC, GAS, PROJECT, WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]

GUESS, OTHER = "cjt188-2018-assumed", "everything-else"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The shipped profiles and those of the link's tests, as if all of them were shipped."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    shipped = profiles._FOLDER.joinpath("meterseal-1.toml").read_text(encoding="utf-8")
    (folder / "meterseal-1.toml").write_text(shipped)
    for one in FOLDER.glob("*.toml"):
        shutil.copy(one, folder)
    caches = (profiles.load, profiles.names, neighbours.near)
    with monkeypatch.context() as patch:
        patch.setattr(profiles, "_FOLDER", folder)
        for cache in caches:
            cache.cache_clear()
        for user in ("meterseal.security.personalise", "meterseal.security.desks.papers"):
            patch.setattr(f"{user}.PROFILES", frozenset(profiles.names()))
        yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None, known: None) -> AsyncIterator[System]:
    made = System(tmp_path, profiles={GAS: GUESS})
    await made.start()
    yield made
    await made.centre.stop()


def security(system: System, caller: str = "platform") -> SecuritySdk:
    return SecuritySdk(InProcess(system.centre.offered, caller))


async def test_meters_of_two_profiles_are_read_commanded_and_evidenced_beside_each_other(
    system: System,
) -> None:
    await system.settle()
    await system.check_complete()
    assert system.chip_state(GAS).profile == GUESS
    assert system.chip_state(WATER).profile == "meterseal-1"
    for device_id, name in ((GAS, GUESS), (WATER, "meterseal-1"), (ELECTRIC, "meterseal-1")):
        stored = await system.centre.parts.sessions.latest(device_id)
        assert stored is not None
        assert stored.profile == name
    for device_id in (GAS, WATER):
        word = await system.read(encode.read_request(device_id, ids.METERING, 7))
        done = await system.until_ended(word)
        assert done.state == "done"
        assert interpret(parse_frame(done.answer, 0, "cjt188")[0]).recognised
        shut = await system.command(encode.valve_request(device_id, opened=False, ser=9), "valve-close")
        assert (await system.until_ended(shut)).state == "done"
        assert system.nodes[device_id].meter.state.valve == "closed"
    await system.centre.parts.mdms.settle()
    counts = system.centre.parts.mdms.counts()
    assert counts.evidence == counts.evidence_good > 0
    await system.centre.restart()  # sessions are taken up from the store, with their profiles
    word = await system.read(encode.read_request(GAS, ids.METERING, 8))
    system.connect()
    assert (await system.until_ended(word)).state == "done"


async def test_a_record_under_another_profile_is_rejected_and_the_doctor_names_it(system: System) -> None:
    module = await system.facts(GAS)
    await security(system).set_policy(GAS, module.module_id, 2, "meterseal-1")  # the registry errs
    for _ in range(400):
        await system.turn()
    assert await system.readings(GAS) == {}
    assert await system.readings(WATER) != {}
    stored = await system.centre.parts.sessions.latest(GAS)
    assert stored is not None
    assert stored.profile == "meterseal-1"
    # Under another profile random bytes are opened, and chance decides what is wrong with them.
    assert stored.rejected.keys() <= {DOES_NOT_DECODE, POLICY}, stored.rejected
    assert any(stored.rejected.values())
    sent = [one.message for one in system.heard if one.message[:2] == b"MR" and one.device_id == GAS]
    shown = SessionShown(
        session_id=stored.session_id, device_id=GAS, module_id=stored.module_id, wrapped=stored.wrapped,
        policy=stored.policy,
    )  # fmt: skip
    frames = [one for one in sent if not one[3] & records.CONTROL and one[4:12] == stored.session_id]
    found = await security(system, OPERATOR).diagnose(
        Symptom(meter=GAS, message=frames[0], sessions=(shown,))
    )
    (wrong,) = [one for one in found.findings if one.verdict == "wrong"]
    assert (wrong.link, wrong.expected, wrong.found) == ("profile", "meterseal-1", GUESS)


async def test_a_policy_alone_leaves_the_profile(system: System) -> None:
    module = await system.facts(GAS)
    asked = LowerPolicy(
        request_id=bytes(16), not_after=system.clock.now + 60_000, project_id=PROJECT, device_id=GAS,
        module_id=module.module_id, policy=1,
    )  # fmt: skip
    signed = sign("wang", system.other_officer, "lower-policy", encoded(asked))
    await security(system).submit(
        SignedOrder(purpose="lower-policy", request=encoded(asked), signatures=(signed,))
    )
    await system.settle()
    stored = await system.centre.parts.sessions.latest(GAS)
    assert stored is not None
    assert (stored.policy, stored.profile) == (1, GUESS)


async def test_a_profile_that_nobody_knows_is_refused(system: System) -> None:
    module = await system.facts(GAS)
    with pytest.raises(LocalError) as refused:
        await security(system).set_policy(GAS, module.module_id, 2, "meterseal-2")
    assert refused.value.code == "security.policy"
    stranger = PersonaliseRequest(
        device_id=b"\x10stranger"[:8], module_id=b"stranger", suite=2, module_point=system.chip_state(WATER).point,
        profile="meterseal-2",
    )  # fmt: skip
    with pytest.raises(LocalError) as refused:
        await security(system).personalise_batch([stranger])
    assert refused.value.code == "security.request"


def test_a_module_takes_no_profile_that_it_does_not_know() -> None:
    memory = SealedNv(MemoryNv(), SymmetricKey.generate("storage"), b"M1234567")
    chip = Chip(Module(memory))
    chip.make_key(b"M1234567")
    with pytest.raises(TrustError) as refused:
        chip.personalise(Personal(b"12345678", 2, bytes(16), 1, 1, b"x" * 129, profile="meterseal-2"))
    assert refused.value.facts["word"] == Sw.WRONG_DATA
    assert chip.state().life == 0
    memory.write({"state": state_to_bytes(State(b"M1234567", profile="meterseal-2"))})
    newer = Module(memory)  # a memory that a later version wrote
    assert "meterseal-2" in newer.fault
    assert newer.transmit(pack(Ins.READ_STATE)) == Sw.MEMORY.to_bytes(2)
