"""What the security service refuses, one test for each branch that no other test is named after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError, LocalError, MetersealError, TrustError
from meterseal.security import cardorders as c
from meterseal.security import hierarchy, officers
from meterseal.security import keyorders as k
from meterseal.security import manifest as mf
from meterseal.security import orders as o
from meterseal.security.platformorders import WithdrawPlatform
from meterseal.security.rootorders import RotateAuthority
from meterseal.security.vault import Vault

from .conftest import Bench
from .people import Person, fields, founded, operator, ordered
from .test_carding import InReader
from .test_factory import row


async def refused(kind: type[MetersealError], code: str, act: Callable[[], object]) -> None:
    """The act ends in this error, with a sentence."""
    with pytest.raises(kind) as caught:
        await act()  # type: ignore[misc]
    assert caught.value.code == code
    assert len(caught.value.message) > 20


# --- modules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["", "x" * 10_001], ids=["none", "endless"])
async def test_an_order_for_a_card_without_a_reason_of_a_readable_length_is_refused(
    bench: Bench, reason: str
) -> None:
    an, bo = await founded(bench)
    one = await InReader(1).enrol(bench)
    ask = one.ask(one.order(c.UNLOCK, [an, bo], reason=reason))
    await refused(LocalError, "security.card", lambda: bench.platform.card_answer(ask))


async def test_a_module_or_a_device_that_stands_twice_in_a_chunk_is_refused(bench: Bench) -> None:
    """The reader of manifests names it; who signs a chunk of their own making is refused by the service itself."""
    maker, *_ = await founded(bench)
    one, other = row(1), row(2)
    for second in (
        mf.Row(one.module_id, other.device_id, one.point, 1),
        mf.Row(other.module_id, one.device_id, one.point, 1),
    ):
        rows = (one, second)
        order = mf.ProductionOrder(**fields(), batch="B-7", rows=2, digests=(mf.digest(rows),))  # type: ignore[arg-type]
        await operator(bench).submit(ordered("production", order, [maker]))
        reply = await operator(bench).produce(order.request_id, 0, rows)
        assert [(refusal.row, refusal.code) for refusal in reply.refused] == [(2, "security.request")]
        assert "twice" in reply.refused[0].sentence
    assert (await bench.platform.usage()).modules == 0


async def test_a_module_that_is_not_in_service_is_not_withdrawn(bench: Bench) -> None:
    one, other = await bench.module(1), await bench.module(2)
    for device_id, module_id in ((one.device_id, other.module_id), (bytes(8), one.module_id)):
        await refused(
            TrustError,
            "security.not-enrolled",
            lambda at=device_id, of=module_id: bench.platform.withdraw(at, of),
        )
    await bench.platform.withdraw(one.device_id, one.module_id)
    await refused(
        TrustError, "security.not-enrolled", lambda: bench.platform.withdraw(one.device_id, one.module_id)
    )


# --- keys ---------------------------------------------------------------------------------------------------


def test_a_key_version_past_one_byte_is_not_made(vault: Vault) -> None:
    vault.add("DIAK", hierarchy.MOST_VERSIONS, SymmetricKey.generate("the last DIAK"))
    with pytest.raises(LocalError) as caught:
        hierarchy.renew_diak(vault)
    assert caught.value.code == "security.version"
    assert vault.newest("DIAK") == hierarchy.MOST_VERSIONS == 255


async def test_a_key_is_not_imported_past_version_255(bench: Bench) -> None:
    people = await founded(bench)
    point = (await operator(bench).transport_key()).point
    bench.service.room.keys.add("DIAK", 255, SymmetricKey.generate("the last DIAK"))
    key = SymmetricKey.generate("another maker's")
    request = k.ImportKey(
        **fields(),  # type: ignore[arg-type]
        key_id="DIAK",
        envelope=sm2.encrypt(point, expose(key)),
        check_value=key.check_value(),
    )
    order = ordered("import-key", request, people)
    await refused(LocalError, "security.version", lambda: operator(bench).submit(order))


async def test_a_count_of_wraps_of_another_kind_or_below_0_is_refused(bench: Bench) -> None:
    rpc = bench.platform._rpc
    for kind, count in (("diak", 1), ("", 1), ("data-keys", -1)):
        report = k.WrapReport(
            counts=(k.WrapCount(kind=kind, version=1, count=count),), sessions_from=0, data_keys_from=0
        )
        await refused(
            LocalError, "security.kind", lambda report=report: rpc.call("report_wraps", report, k.Rewrapped)
        )


async def test_a_report_that_nothing_stands_below_a_version_to_come_is_refused(bench: Bench) -> None:
    """It would let the present version end at its next rotation, uncounted."""
    for floors in ({"sessions_from": 2}, {"data_keys_from": 2}):
        await refused(
            LocalError,
            "security.kind",
            lambda floors=floors: bench.platform.report_wraps({1: 1}, {1: 1}, **floors),
        )
    await bench.platform.report_wraps({1: 1}, {1: 1}, sessions_from=1, data_keys_from=1)


async def test_only_sessions_and_data_keys_are_rewrapped(bench: Bench) -> None:
    for kind in ("audit", "", "DATA-KEYS"):
        await refused(
            LocalError,
            "security.kind",
            lambda kind=kind: bench.platform._rewrap([(kind, "a", "b", bytes(60))]),
        )


async def test_a_session_to_be_rewrapped_under_a_name_that_is_no_hex_is_refused(bench: Bench) -> None:
    _, reply = await bench.shake(await bench.module(1))
    await operator(bench).rotate("session-wraps")
    device, session = reply.device_id.hex(), reply.session_id.hex()
    for purpose, name in (("no hex", session), (device, session[:-1])):
        item = ("session-wraps", purpose, name, reply.wrapped)
        await refused(LocalError, "security.request", lambda item=item: bench.platform._rewrap([item]))
    assert await bench.platform._rewrap([("session-wraps", device, session, reply.wrapped)])


# --- persons ------------------------------------------------------------------------------------------------


async def change(bench: Bench, signers: tuple[Person, ...], **other: object) -> None:
    order = ordered("officers", o.OfficerChange(**{**fields(), **other}), signers)  # type: ignore[arg-type]
    await operator(bench).submit(order)


async def test_somebody_who_is_no_officer_does_not_leave(bench: Bench) -> None:
    people = await founded(bench)
    before = await bench.platform.officers()
    for gone in (("eve",), ("an", "eve")):
        await refused(LocalError, "security.officer", lambda gone=gone: change(bench, people, remove=gone))
    assert await bench.platform.officers() == before


@pytest.mark.parametrize(
    ("officer", "roles"),
    [("", ("keys",)), ("Cy", ("keys",)), ("c" * 33, ("keys",)), ("cy", ()), ("cy", ("king",))],
    ids=["no id", "a capital", "too long", "no role", "no such role"],
)
async def test_a_card_without_a_proper_id_or_role_lets_nobody_join(
    bench: Bench, officer: str, roles: tuple[str, ...]
) -> None:
    people = await founded(bench)
    card = Person(officer, roles).card
    await refused(LocalError, "security.officer", lambda: change(bench, people, add=(card,)))


async def test_the_register_of_officers_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    people = await founded(bench)
    monkeypatch.setattr(officers, "_MOST", 3)
    await change(bench, people, add=(Person("cy").card,))
    card = Person("dee").card
    await refused(LocalError, "security.officer", lambda: change(bench, people, add=(card,)))
    await change(bench, people, remove=("cy",))
    await refused(LocalError, "security.officer", lambda: change(bench, people, add=(card,)))


async def test_an_order_with_more_signatures_than_are_looked_at_is_refused(bench: Bench) -> None:
    an, bo = await founded(bench)
    signers = (an, bo) * (officers._MOST_SIGNATURES // 2)
    await change(bench, signers, add=(Person("cy").card,))
    await refused(
        TrustError, "security.signature", lambda: change(bench, (*signers, an), add=(Person("dee").card,))
    )


async def test_only_the_cas_of_platform_and_devices_are_renewed(bench: Bench) -> None:
    people = await founded(bench)
    for authority in ("root", "tls", "", "Device"):
        order = ordered("ca-rotate", RotateAuthority(**fields(), authority=authority), people)  # type: ignore[arg-type]
        await refused(LocalError, "security.authority", lambda order=order: operator(bench).submit(order))


async def test_a_platform_that_is_not_enrolled_is_not_withdrawn(bench: Bench) -> None:
    people = await founded(bench)
    for caller in ("nobody", "", "platform:nobody"):
        order = ordered(
            "withdraw-platform",
            WithdrawPlatform(**fields(), caller=caller, reason="it never came"),  # type: ignore[arg-type]
            people,
        )
        await refused(LocalError, "security.platform", lambda order=order: operator(bench).submit(order))


async def test_a_backup_that_cannot_be_gathered_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    kept = bench.directory / "offline"
    kept.rename(tmp_path / "taken away")
    kept.write_bytes(b"a file where a directory was")
    target = tmp_path / "a.backup"
    await refused(
        EngineError, "security.disk", lambda: operator(bench).backup(str(target), b"words of a backup")
    )
    assert not target.exists()
    assert list(bench.directory.glob(".backup-*")) == []
