"""Evidence: what the meters signed is checked, whatever arrives first, and an altered load profile shows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control.tables import evidence as table
from meterseal.crypto.sm2 import verify
from meterseal.errors import EngineError
from meterseal.link.evidence import GENESIS, EvidenceStatement, chain, signed_bytes, unpack
from meterseal.mdms.rivals import RIVALS
from meterseal.mdms.service import Mdms
from meterseal.mdms.verifier import SignedStatement, each
from meterseal.model import MAIN, Batch, Evidence, Opened
from tests.mdms.fleet import (
    DAY,
    FIRST,
    HOUR,
    KEY,
    Chains,
    day_record,
    days,
    device,
    evidence_record,
    keys,
    open_store,
    point,
    register,
    shuffled,
)


def states(mdms: Mdms, number: int = 0) -> list[str]:
    return [facts.checked for facts in mdms.evidence_between(point(number), MAIN, 0, FIRST + 99 * DAY)]


async def publish(mdms: Mdms, *records: Opened) -> None:
    await mdms.publish(Batch(records))


def signed(statement: EvidenceStatement) -> Evidence:
    raw = statement.pack()
    return Evidence(statement.device_id, raw, KEY.sign(signed_bytes(raw)))


@pytest.mark.parametrize("again", [1, 3])
async def test_evidence_is_counted_once_after_every_restart(tmp_path: Path, again: int) -> None:
    """The journal is replayed at each start; what was checked before is no second statement and waits no more."""
    mdms, engine = open_store(tmp_path, 2)
    for day in days(2, 4):
        await publish(mdms, *day)
    assert (mdms.counts().evidence, mdms.counts().evidence_waiting) == (8, 8)
    await mdms.settle()
    settled = mdms.counts()
    assert (settled.evidence, settled.evidence_good, settled.evidence_waiting) == (8, 8, 0)
    for _ in range(again):
        await mdms.close()
        engine.dispose()
        mdms, engine = open_store(tmp_path)
        assert mdms.counts() == settled
    await mdms.settle()
    assert mdms.counts() == settled
    await mdms.close()


async def test_a_statement_that_comes_again_is_counted_once_while_it_waits(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    evidence = Chains().evidence(0, 0)
    await publish(mdms, day_record(0, 0, 1), evidence_record(evidence, 0, 2, FIRST))
    await mdms.settle()
    await publish(mdms, evidence_record(evidence, 0, 3, FIRST))
    counts = mdms.counts()
    assert (counts.records, counts.evidence, counts.evidence_waiting) == (3, 1, 0)
    await mdms.close()


async def test_a_rival_of_a_checked_statement_is_still_judged_after_a_restart(tmp_path: Path) -> None:
    """Only the very statement that was checked leaves the queue: another one under its number is a finding."""
    mdms, engine = open_store(tmp_path, 1)
    true = Chains().evidence(0, 0)
    other = signed(unpack(true.statement)._replace(register=1))
    await publish(mdms, day_record(0, 0, 1), evidence_record(true, 0, 2, FIRST))
    await mdms.settle()
    await publish(mdms, evidence_record(other, 0, 3, FIRST))
    await mdms.close()
    engine.dispose()
    mdms, _ = open_store(tmp_path)
    assert (mdms.counts().evidence, mdms.counts().evidence_waiting) == (1, 0)
    await mdms.settle()
    assert [finding.rule for finding in mdms.findings()] == ["evidence-contradiction"]
    assert states(mdms) == ["signed"]
    await mdms.close()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("compacting", [False, True])
async def test_in_any_order_all_of_it_is_signed_in_the_end(
    tmp_path: Path, seed: int, compacting: bool
) -> None:
    mdms, _ = open_store(tmp_path, 2)
    for position, record in enumerate(shuffled([r for day in days(2, 5) for r in day], seed)):
        await publish(mdms, record)
        if position % 3 == 0:
            await mdms.settle()
        if compacting and position % 4 == 0:
            await mdms.compact()
    await mdms.settle()
    assert states(mdms, 0) == states(mdms, 1) == ["signed"] * 5
    assert mdms.counts().evidence == mdms.counts().evidence_good == 10
    await mdms.close()


async def test_while_readings_are_missing_the_chain_is_open_and_says_where(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    chains = Chains()
    first, second = chains.evidence(0, 0), chains.evidence(0, 1)
    await publish(mdms, evidence_record(second, 0, 9, FIRST))
    await mdms.settle()
    assert states(mdms) == ["chain-open"]
    await publish(mdms, day_record(0, 0, 1), evidence_record(first, 0, 2, FIRST))
    await mdms.settle()
    assert states(mdms) == ["signed", "chain-open"]
    found = mdms.evidence_at(point(0), MAIN, FIRST + 2 * DAY)
    assert found is not None
    assert str(FIRST + DAY) in found.reason
    await publish(mdms, day_record(0, 1, 3))
    await mdms.settle()
    assert states(mdms) == ["signed", "signed"]
    await mdms.close()


async def test_a_reading_altered_on_the_way_breaks_the_chain_of_its_day_alone(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    chains = Chains()
    for day in range(3):
        record = day_record(0, day, 2 * day + 1)
        if day == 1:
            block, rest = record.series
            altered = (block.registers[0], block.registers[1] or 0, *block.registers[2:])
            altered = (altered[0], altered[1] - 1, *altered[2:])  # type: ignore[operator]
            record = msgspec.structs.replace(
                record, series=(msgspec.structs.replace(block, registers=altered), rest)
            )
        await publish(mdms, record, evidence_record(chains.evidence(0, day), 0, 2 * day + 2, FIRST))
    await mdms.settle()
    assert states(mdms) == ["signed", "chain-broken", "signed"]
    await mdms.close()


@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("between", ["nothing", "settle", "compact", "restart"])
async def test_a_single_reading_that_came_first_does_not_break_the_evidence_of_its_day(
    tmp_path: Path, off: int, between: str
) -> None:
    """An answer 901F at 00:00:00, perhaps one tick off, overtakes the load profile that ends at that instant."""
    mdms, engine = open_store(tmp_path, 1)
    end, chains = FIRST + DAY, Chains()
    day = day_record(0, 0, 2)
    single = msgspec.structs.replace(day.series[1], step=0, start_at=end, registers=(register(0, end) + off,))
    early = msgspec.structs.replace(day, counter=1, series=(single,), statuses=(), received_at=end + 1)
    await publish(mdms, early, evidence_record(chains.evidence(0, 0), 0, 3, end))
    if between == "settle":
        await mdms.settle()
        assert states(mdms) == ["chain-open"]
    elif between == "compact":
        await mdms.compact()
    elif between == "restart":
        await mdms.close()
        engine.dispose()
        mdms, _ = open_store(tmp_path)
    await publish(mdms, day)
    await publish(mdms, msgspec.structs.replace(early, counter=4))
    await publish(mdms, day_record(0, 1, 5), evidence_record(chains.evidence(0, 1), 0, 6, end))
    await mdms.settle()
    assert states(mdms) == ["signed", "signed"]
    shown = mdms.registers(point(0), MAIN, end, end)
    assert (shown.register.tolist(), shown.profile.tolist()) == ([register(0, end)], [True])
    as_it_was = mdms.readings(point(0), MAIN, end, end + 1, as_of=end + 1)
    assert as_it_was.register.tolist() == [register(0, end) + off]
    counts = mdms.counts()
    assert (counts.readings, counts.conflicts) == (48, 2 if off else 0)
    values = [msgspec.msgpack.decode(finding.values or b"") for finding in mdms.findings()]
    assert [(one["kept"][0], one["refused"][0]) for one in values] == (
        [(register(0, end), register(0, end) + off)] if off else []
    )
    await mdms.close()


async def test_a_signed_register_that_the_load_profile_does_not_end_with_is_no_good_evidence(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    times = range(FIRST + HOUR, FIRST + DAY + 1, HOUR)
    head = chain(GENESIS, MAIN, [(at, register(0, at)) for at in times])
    statement = EvidenceStatement(device(0), MAIN, FIRST + DAY, 7, -2, 0x2C, 0, 1, head)
    await publish(mdms, day_record(0, 0, 1), evidence_record(signed(statement), 0, 2, FIRST))
    await mdms.settle()
    assert states(mdms) == ["chain-broken"]
    await mdms.close()


async def test_missing_values_are_left_out_of_the_chain_and_single_readings_too(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    record = day_record(0, 0, 1)
    block, rest = record.series
    holes = tuple(None if k in (3, 4) else value for k, value in enumerate(block.registers))
    spot = msgspec.structs.replace(
        block, step=0, start_at=FIRST + 90 * 60_000, registers=((block.registers[0] or 0) + 1,)
    )
    record = msgspec.structs.replace(
        record, series=(spot, msgspec.structs.replace(block, registers=holes), rest)
    )
    times = [FIRST + (k + 1) * HOUR for k in range(24) if k not in (3, 4)]
    head = chain(GENESIS, MAIN, [(at, register(0, at)) for at in times])
    end = FIRST + DAY
    statement = EvidenceStatement(device(0), MAIN, end, register(0, end), -2, 0x2C, 0, 1, head)
    await publish(mdms, record, evidence_record(signed(statement), 0, 2, FIRST))
    await mdms.run_vee(FIRST + 2 * DAY)
    await mdms.compact()
    await mdms.settle()
    assert states(mdms) == ["signed"]
    await mdms.close()


async def test_a_single_reading_that_came_first_does_not_hide_the_profile_from_the_chain(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    record = day_record(0, 0, 1)
    at = FIRST + 5 * HOUR
    spot = msgspec.structs.replace(record.series[0], step=0, start_at=at, registers=(register(0, at),))
    await publish(mdms, msgspec.structs.replace(record, counter=7, series=(spot,)))
    await mdms.compact()
    await publish(mdms, record, evidence_record(Chains().evidence(0, 0), 0, 2, FIRST))
    await mdms.settle()
    assert states(mdms) == ["signed"]
    assert mdms.counts().readings == 24
    await mdms.close()


async def test_a_signature_of_somebody_else_is_bad_and_anchors_nothing(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    chains = Chains()
    first, second = chains.evidence(0, 0), chains.evidence(0, 1)
    forged = Evidence(first.device_id, first.statement[:-1] + b"?", first.signature)
    await publish(mdms, day_record(0, 0, 1), evidence_record(forged, 0, 2, FIRST))
    await publish(mdms, day_record(0, 1, 3), evidence_record(second, 0, 4, FIRST))
    await mdms.settle()
    assert states(mdms) == ["bad", "signed"]
    await mdms.close()


async def test_two_statements_with_one_sequence_are_a_finding_and_the_first_stays(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    true = Chains().evidence(0, 0)
    other = signed(EvidenceStatement(device(0), MAIN, FIRST + DAY, 5, -2, 0x2C, 0, 1, bytes(32)))
    await publish(mdms, day_record(0, 0, 1), evidence_record(true, 0, 2, FIRST))
    await mdms.settle()
    await publish(mdms, evidence_record(other, 0, 3, FIRST), evidence_record(true, 0, 4, FIRST))
    await mdms.settle()
    await publish(mdms, evidence_record(other, 0, 5, FIRST))
    await mdms.settle()
    assert states(mdms) == ["signed"]
    assert [finding.rule for finding in mdms.findings()] == ["evidence-contradiction"]
    await mdms.close()


async def test_under_suite_2_it_is_a_mac(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.close()
    asked: list[int] = []

    def verify(_: bytes, __: bytes, ___: bytes, suite: int) -> bool:
        asked.append(suite)
        return True

    mdms = Mdms.open(tmp_path / "measurements", engine, keys(), each(verify))
    record = evidence_record(Chains().evidence(0, 0), 0, 2, FIRST)
    await publish(mdms, day_record(0, 0, 1), msgspec.structs.replace(record, suite=2))
    await mdms.settle()
    assert (states(mdms), asked) == (["mac"], [2])
    await mdms.close()


class Away:
    """A verifier whose security service comes and goes."""

    def __init__(self) -> None:
        self.here = False

    async def verify(self, statements: Sequence[SignedStatement]) -> Sequence[bool]:
        await asyncio.sleep(0)
        if not self.here:
            raise EngineError("mesh.away", "The security service does not answer. Start it again.")
        return [True] * len(statements)


@pytest.mark.parametrize("restart", [False, True])
async def test_evidence_waits_for_the_service_and_is_not_shown_before(tmp_path: Path, restart: bool) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.close()
    away = Away()
    mdms = Mdms.open(tmp_path / "measurements", engine, keys(), away)
    record = evidence_record(Chains().evidence(0, 0), 0, 2, FIRST)
    await publish(mdms, day_record(0, 0, 1), record)
    with pytest.raises(EngineError):
        await mdms.settle()
    await mdms.compact()
    assert states(mdms) == []
    assert mdms.counts().evidence == mdms.counts().evidence_waiting == 1
    if restart:
        await mdms.close()
        mdms = Mdms.open(tmp_path / "measurements", engine, keys(), away)
    away.here = True
    await mdms.settle()
    assert states(mdms) == ["signed"]
    assert mdms.counts().evidence_waiting == 0
    await mdms.close()


class Judging:
    """A verifier that knows the meters' key, behind a security service that comes and goes."""

    def __init__(self) -> None:
        self.here = False

    async def verify(self, statements: Sequence[SignedStatement]) -> Sequence[bool]:
        await asyncio.sleep(0)
        if not self.here:
            raise EngineError("mesh.away", "The security service does not answer. Start it again.")
        point = KEY.public_point
        return [verify(point, signed_bytes(one.statement), one.signature) for one in statements]


def forged(true: Evidence, register: int) -> Evidence:
    """A statement under the number of the meter's own that no module signed."""
    return Evidence(true.device_id, unpack(true.statement)._replace(register=register).pack(), true.signature)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("first", ["the forged one", "the meter's own"])
@pytest.mark.parametrize("together", [False, True])
async def test_a_forged_statement_kept_unchecked_first_does_not_keep_the_meters_own_out(
    tmp_path: Path, restart: bool, first: str, together: bool
) -> None:
    """A head-end in wrong hands sends a statement of its own while the security service is away, and the store compacts."""
    mdms, engine = open_store(tmp_path, 1)
    await mdms.close()
    service = Judging()
    mdms = Mdms.open(tmp_path / "measurements", engine, keys(), service)
    true = Chains().evidence(0, 0)
    both = [forged(true, 7), true] if first == "the forged one" else [true, forged(true, 7)]
    await publish(mdms, day_record(0, 0, 1))
    for counter, one in enumerate(both, 2):
        await publish(mdms, evidence_record(one, 0, counter, FIRST))
        if not together:
            await mdms.compact()
    await mdms.compact()
    assert (states(mdms), mdms.counts().evidence_waiting) == ([], 1)
    if restart:
        await mdms.close()
        mdms = Mdms.open(tmp_path / "measurements", engine, keys(), service)
    service.here = True
    await mdms.settle()
    assert states(mdms) == ["signed"]
    (facts,) = mdms.evidence_between(point(0), MAIN, 0, FIRST + 99 * DAY)
    assert (facts.statement, facts.signature) == (true.statement, true.signature)
    assert [finding.rule for finding in mdms.findings()] == ["evidence-contradiction"]
    assert mdms.counts().evidence_waiting == 0
    await mdms.close()


async def test_the_meters_own_that_came_unchecked_after_a_bad_one_is_not_lost(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.close()
    service = Judging()
    service.here = True
    mdms = Mdms.open(tmp_path / "measurements", engine, keys(), service)
    true = Chains().evidence(0, 0)
    await publish(mdms, day_record(0, 0, 1), evidence_record(forged(true, 7), 0, 2, FIRST))
    await mdms.settle()
    assert states(mdms) == ["bad"]
    service.here = False
    await publish(mdms, evidence_record(true, 0, 3, FIRST))
    await mdms.compact()
    service.here = True
    await mdms.settle()
    assert states(mdms) == ["signed"]
    await mdms.close()


async def test_a_forged_statement_judged_while_others_wait_under_its_number_displaces_none(
    tmp_path: Path,
) -> None:
    """The same forged statement comes again when the service is back: judged at once, before what waits is."""
    mdms, engine = open_store(tmp_path, 1)
    await mdms.close()
    service = Judging()
    mdms = Mdms.open(tmp_path / "measurements", engine, keys(), service)
    true = Chains().evidence(0, 0)
    false = forged(true, 7)
    await publish(
        mdms, day_record(0, 0, 1), evidence_record(false, 0, 2, FIRST), evidence_record(true, 0, 3, FIRST)
    )
    await mdms.compact()
    service.here = True
    await publish(mdms, evidence_record(false, 0, 4, FIRST), evidence_record(forged(true, 8), 0, 5, FIRST))
    await mdms.settle()
    assert states(mdms) == ["signed"]
    assert {finding.rule for finding in mdms.findings()} == {"evidence-contradiction"}
    await mdms.close()


async def test_when_all_that_waited_under_a_number_is_bad_one_bad_statement_is_shown(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.close()
    service = Judging()
    mdms = Mdms.open(tmp_path / "measurements", engine, keys(), service)
    true = Chains().evidence(0, 0)
    await publish(mdms, day_record(0, 0, 1))
    for counter, number in enumerate((7, 8, 9), 2):
        await publish(mdms, evidence_record(forged(true, number), 0, counter, FIRST))
    await mdms.compact()
    service.here = True
    await mdms.settle()
    assert (states(mdms), mdms.counts().evidence_waiting) == (["bad"], 0)
    await publish(mdms, evidence_record(true, 0, 9, FIRST))
    await mdms.settle()
    assert states(mdms) == ["signed"]
    await mdms.close()


async def test_what_waits_under_one_number_is_bounded(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.close()
    mdms = Mdms.open(tmp_path / "measurements", engine, keys(), Judging())
    true = Chains().evidence(0, 0)
    floods = [evidence_record(forged(true, number), 0, number + 1, FIRST) for number in range(1, 100)]
    await publish(mdms, *floods)
    await mdms.compact()
    assert len(mdms._book.unchecked()) == RIVALS
    await mdms.close()


@pytest.mark.parametrize(
    "statement",
    [
        b"",
        bytes(64),
        EvidenceStatement(device(9), 1, FIRST, 1, 0, 0, 0, 1, bytes(32)).pack(),
        EvidenceStatement(device(0), 1, 2**63, 1, 0, 0, 0, 1, bytes(32)).pack(),
    ],
)
async def test_statements_that_say_nothing_sensible_are_held_back(tmp_path: Path, statement: bytes) -> None:
    mdms, _ = open_store(tmp_path, 1)
    odd = Evidence(device(0), statement, bytes(64))
    await publish(mdms, evidence_record(odd, 0, 1, FIRST))
    (held,) = mdms.quarantine()
    assert held.code == "mdms.statement"
    assert msgspec.msgpack.decode(held.record, type=Opened).evidence == (odd,)
    await mdms.settle()
    assert mdms.counts().evidence == 0
    await mdms.close()


async def test_the_tables_show_no_statement(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    evidence = Chains().evidence(0, 0)
    await publish(mdms, day_record(0, 0, 1), evidence_record(evidence, 0, 2, FIRST))
    await mdms.settle()
    with engine.connect() as connection:
        row = connection.execute(sa.select(table)).one()
    assert evidence.statement[17:25] not in row.sealed_statement
    found = mdms.evidence_at(point(0), MAIN, FIRST + DAY)
    assert found is not None
    assert (found.statement, found.signature) == (evidence.statement, evidence.signature)
    assert (found.register, found.sequence, found.suite) == (register(0, FIRST + DAY), 1, 1)
    assert mdms.evidence_at(point(0), MAIN, FIRST + DAY + 1) is None
    await mdms.close()
