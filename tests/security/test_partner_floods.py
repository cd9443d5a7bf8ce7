"""One enrolled platform against all: what it may cost in uses of keys, entries, memory and certificates."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from pathlib import Path

import pytest
from msgspec import structs

from meterseal.app.keys import PlatformTls
from meterseal.errors import LocalError, MetersealError
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.requests import make_request
from meterseal.mesh.rpc import InProcess
from meterseal.mesh.tls import Files, client_context
from meterseal.security import calllog
from meterseal.security import messages as m
from meterseal.security.calllog import BURST, CODE, PER_MINUTE, SESSION, CallLog
from meterseal.security.hierarchy import DIAK_LIMIT
from meterseal.security.messages import AuditEntry
from meterseal.security.sdk_platforms import PartnerSdk
from meterseal.security.service import SecurityService

from .conftest import PASSPHRASE
from .people import operator
from .test_partners import PASSWORD, Town, authority, machine_now, tls, town

__all__ = ["authority", "tls", "town"]

SECONDS = 20


def counts(sentence: str) -> int:
    """How many calls an entry of counts names."""
    return sum(int(number) for number in re.findall(r"(\d+) times", sentence))


DAY = 86_400


async def _asked_for(town: Town, call: object) -> tuple[int, list[str]]:
    """Fifty calls in each of some seconds, as fast as anybody may: how many were answered, and the refusals."""
    assert callable(call)
    answered, refused = 0, []
    for _ in range(SECONDS * 50):
        town.bench.clock.now += 20
        try:
            await call()
            answered += 1
        except MetersealError as error:
            refused.append(error.code)
    return answered, refused


async def test_forged_evidence_does_not_use_the_fleets_key_up(town: Town) -> None:
    """A use of DIAK is counted for each statement, and at its limit no module of that version is heard any more."""
    module = await town.bench.module(1, suite=2)
    await town.enrolled("billing", ("modules",))
    forged = m.EvidenceRequest(
        device_id=module.device_id, module_id=module.module_id, key_version=1, statement=b"x", mac=bytes(32)
    )
    keys = town.bench.service.room.keys
    before = keys.facts("DIAK", 1).used
    async with town.way("billing") as sdk:
        answered, refused = await _asked_for(town, lambda: sdk.check_evidence_batch([forged] * 1000))
    assert answered > 1
    assert set(refused) == {"security.platform-rate"}
    used = keys.facts("DIAK", 1).used - before
    assert used == answered * 1000
    assert DIAK_LIMIT / (used / SECONDS) > 100 * DAY


async def test_refused_calls_leave_room_in_the_audit_log_for_others(town: Town) -> None:
    """All refusals share 50 entries a second; one platform's are written singly while its own store lasts, then counted."""
    await town.enrolled("billing", ("modules",))
    async with town.way("billing") as sdk:
        _, refused = await _asked_for(town, lambda: sdk.device_facts(bytes(8)))
    town.bench.service.room.tell_calls(ending=True)
    await town.bench.service.room.durable()
    said = await town.said_of("platform:billing")
    written = [one for one in said if one.refused]
    counted = sum(counts(one.sentence) for one in said if one.code == CODE)
    assert len(written) + counted == refused.count("security.platform-project")
    assert len(written) <= BURST + PER_MINUTE


async def test_a_platform_that_fetches_certificates_all_day_costs_no_more_than_one_that_calls(
    town: Town,
) -> None:
    await town.enrolled("billing")
    async with town.way("billing") as sdk:
        answered, refused = await _asked_for(town, sdk.certificate)
    assert 0 < answered <= 5 + SECONDS // 2
    assert set(refused) == {"security.platform-rate"}


async def test_the_second_root_is_opened_once_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = TlsDirectory(tmp_path / "tls")
    passwords = directory.provision(b"a passphrase for tests", machine_now())
    open_now, most = 0, 0

    async def opening(*_: object) -> object:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0)
        open_now -= 1
        return passwords

    authority = PlatformTls(directory, b"a passphrase for tests", machine_now)
    request, _ = make_request("billing", PASSWORD)
    monkeypatch.setattr(asyncio, "to_thread", opening)
    issued = await asyncio.gather(*(authority.platform("billing", request) for _ in range(20)))
    assert len(issued) == 20
    assert most == 1


@pytest.fixture
async def withdrawn(town: Town) -> ssl.SSLContext:
    """Good TLS of a platform that nothing is answered to any more."""
    await town.enrolled("billing")
    files = Files(town.folder / "billing.crt", town.folder / "billing.tls.key", town.folder / "root.crt")
    await town.withdrawn("billing")
    return client_context(files, PASSWORD)


async def test_a_withdrawn_platform_fills_no_memory_with_begun_messages(
    town: Town, withdrawn: ssl.SSLContext
) -> None:
    assert town.partners is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", town.partners.port, ssl=withdrawn)
    writer.write((2 << 20).to_bytes(4) + bytes(1000))
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        assert await asyncio.wait_for(reader.read(), 5) == b""  # ended at the length, not after the rest
    writer.close()
    codes = {(one.code, one.caller) for one in town.bench.service.room.tally.due()}
    assert ("mesh.frame", "platform:billing") in codes


async def test_the_largest_batch_of_evidence_fits_into_a_platforms_message(town: Town) -> None:
    module = await town.bench.module(1, suite=2)
    await town.enrolled("billing", ("modules",))
    one = m.EvidenceRequest(
        device_id=module.device_id,
        module_id=module.module_id,
        key_version=1,
        statement=bytes(512),
        mac=bytes(32),
    )
    async with town.way("billing") as sdk:
        assert len(await sdk.check_evidence_batch([one] * 1000)) == 1000
        town.bench.clock.now += 20_000
        with pytest.raises(LocalError) as caught:
            await sdk.check_evidence_batch([one] * 1001)
    assert caught.value.code == "security.request"


async def test_whoever_connects_and_says_nothing_keeps_no_platform_out(town: Town) -> None:
    await town.enrolled("billing")
    assert town.partners is not None
    silent = [await asyncio.open_connection("127.0.0.1", town.partners.port) for _ in range(140)]
    async with town.way("billing") as sdk:
        await sdk.anchors()
    assert "mesh.busy" in {one.code for one in town.bench.service.room.tally.due()}
    ended = [reader for reader, _ in silent if reader.at_eof()]
    assert 0 < len(ended) <= 140 - 120
    for _, writer in silent:
        writer.close()


async def test_a_platform_that_calls_without_end_makes_the_log_grow_by_a_bounded_number_of_entries(
    town: Town,
) -> None:
    """Five minutes of calls as fast as anybody may: every one is in the log, hardly any by itself."""
    await town.enrolled("billing")
    way = PartnerSdk(InProcess(town.bench.service.methods(), "platform:billing"))
    before = len(await town.said_of("platform:billing"))
    answered, minutes = 0, 5
    for _ in range(minutes * 600):
        town.bench.clock.now += 100
        await way.anchors()
        answered += 1
    town.bench.service.room.tell_calls(ending=True)
    await town.bench.service.room.durable()
    entries, since = [], 0
    while page := await operator(town.bench).audit(since, limit=1000):
        entries += [one.entry for one in page if one.entry.caller == "platform:billing"]
        since = page[-1].sequence
    assert len(entries) - before <= BURST + PER_MINUTE * minutes + minutes + 1
    singly = sum(one.code == "security.platform-call" for one in entries)
    assert singly + sum(counts(one.sentence) for one in entries if one.code == CODE) == answered
    assert "anchors was answered (trail)" in entries[-1].sentence


def test_what_officers_signed_is_written_singly_however_much_a_platform_calls() -> None:
    log = CallLog()
    calls = [AuditEntry(at=0, code="security.platform-call", sentence="x", caller="platform:a")] * 1000
    assert sum(log.singly(one) for one in calls) == BURST
    order = AuditEntry(
        at=0, code="security.command-authorised", sentence="x", caller="platform:a", officers=("an",)
    )
    assert all(log.singly(order) for _ in range(1000))
    (told,) = log.due(60_000)
    assert counts(told.sentence) == 1000 - BURST
    assert log.due(120_000) == []


def test_no_noise_hides_whom_a_platform_heard() -> None:
    """A session with a module that it had none with for an hour stands in the log by itself, however much it calls."""
    log, hour = CallLog(), 3_600_000
    noise = AuditEntry(at=0, code="security.platform-call", sentence="anchors.", caller="platform:a")
    while log.singly(noise):
        pass

    def session(module: int, at: int) -> bool:
        return log.singly(
            AuditEntry(at=at, code=SESSION, sentence="", caller="platform:a", module_id=module.to_bytes(8))
        )

    assert all(session(module, 0) for module in range(1000))
    assert not any(session(module, hour - 1) for module in range(1000))
    assert session(5, hour)
    assert not session(5, hour)
    other = AuditEntry(at=hour, code=SESSION, sentence="", caller="platform:b", module_id=bytes(8))
    assert log.singly(other)


def test_whom_a_platform_heard_is_kept_for_an_hour_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calllog, "_MOST_HEARD", 10)
    log = CallLog()
    for number in range(100):
        entry = AuditEntry(at=number * 600_000, code=SESSION, sentence="", caller="platform:a")
        log.singly(structs.replace(entry, module_id=number.to_bytes(8)))
    assert len(log._callers["platform:a"].heard) <= 11


def test_refusals_of_endless_kinds_are_one_kind_beyond_forty() -> None:
    log = CallLog()
    for number in range(BURST + 1000):
        log.singly(AuditEntry(at=0, code=f"link.{number}", sentence="", caller="platform:a"))
    (told,) = log.due(0, ending=True)
    assert counts(told.sentence) == 1000
    assert told.sentence.count(" times ") == 41


async def test_a_stop_writes_down_what_was_only_counted(town: Town) -> None:
    await town.enrolled("billing")
    way = PartnerSdk(InProcess(town.bench.service.methods(), "platform:billing"))
    for _ in range(BURST + 5):
        town.bench.clock.now += 20
        await way.anchors()
    await town.close()
    town.bench.service.close()
    town.bench.service = SecurityService.open(town.bench.directory, PASSPHRASE, clock=town.bench.clock)
    await town.listen()
    newest = await operator(town.bench).audit(newest=True, limit=10)
    assert [counts(one.entry.sentence) for one in newest if one.entry.code == CODE] == [5]
