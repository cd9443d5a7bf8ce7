"""Who verifies evidence: real SM2 signatures by certificates on record, suite 2 by the security service."""

from __future__ import annotations

import asyncio

import pytest

from meterseal.app.measurements import Verifier
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError, TrustError
from meterseal.link.evidence import GENESIS, EvidenceStatement, check_mac, mac_statement, signed_bytes
from meterseal.link.schedule import bound_keys
from meterseal.mdms.verifier import SignedStatement
from meterseal.security.messages import DeviceFacts, EvidenceRequest
from tests.crypto.pki import DEVICE, MODULE, NOW, PROJECT, Tree

TREE = Tree()
OTHER = bytes.fromhex("0102030405060709")
KEYS = bound_keys(SymmetricKey.from_bytes(bytes(range(16)), "K_b of a test"))


def statement(sequence: int = 1) -> bytes:
    return EvidenceStatement(DEVICE, 1, NOW, 12_345, -2, 0x2C, 0, sequence, GENESIS).pack()


def signed(sequence: int = 1, module_id: bytes = MODULE) -> SignedStatement:
    one = statement(sequence)
    return SignedStatement(DEVICE, module_id, 1, one, TREE.device_key.sign(signed_bytes(one)))


def maced(sequence: int = 1, module_id: bytes = MODULE) -> SignedStatement:
    one = statement(sequence)
    return SignedStatement(DEVICE, module_id, 2, one, mac_statement(KEYS.evidence, one))


class Security:
    """The SDK's two answers, with the real certificate and the real K_evid."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    async def device_facts(self, device_id: bytes, module_id: bytes = b"") -> DeviceFacts:
        self.asked += 1
        if self.away:
            raise EngineError("mesh.unreachable", "Away.")
        if module_id != MODULE:
            raise TrustError("security.not-enrolled", "No such module.")
        return DeviceFacts(
            device_id=device_id,
            module_id=module_id,
            suite=1,
            key_version=1,
            project_id=PROJECT,
            chain=tuple(TREE.device_chain),
            state="active",
            lab=False,
            enrolled_at=NOW,
        )

    async def check_evidence_batch(self, requests: list[EvidenceRequest]) -> tuple[bool, ...]:
        return tuple(check_mac(KEYS.evidence, one.statement, one.mac) for one in requests)


@pytest.fixture
def security() -> Security:
    return Security()


@pytest.fixture
def verifier(security: Security) -> Verifier:
    return Verifier(security)  # type: ignore[arg-type]


async def test_what_the_module_signed_holds_in_both_suites(verifier: Verifier) -> None:
    assert list(await verifier.verify([signed(), maced(), signed(2)])) == [True, True, True]


async def test_verdicts_keep_their_order_whatever_the_suites(verifier: Verifier) -> None:
    broken = SignedStatement(DEVICE, MODULE, 1, statement(9), signed(8).signature)
    false = SignedStatement(DEVICE, MODULE, 2, statement(9), maced(8).signature)
    items = [maced(), broken, signed(), false, maced(3)]
    assert list(await verifier.verify(items)) == [True, False, True, False, True]


async def test_an_altered_statement_does_not_hold(verifier: Verifier) -> None:
    good = signed()
    for at in range(0, len(good.statement), 7):
        changed = bytearray(good.statement)
        changed[at] ^= 1
        item = SignedStatement(DEVICE, MODULE, 1, bytes(changed), good.signature)
        assert list(await verifier.verify([item])) == [False]


@pytest.mark.parametrize("signature", [b"", bytes(64), b"\xff" * 64, bytes(32)])
async def test_a_signature_of_any_bytes_does_not_hold_and_raises_nothing(
    verifier: Verifier, signature: bytes
) -> None:
    items = [SignedStatement(DEVICE, MODULE, suite, statement(), signature) for suite in (1, 2)]
    assert list(await verifier.verify(items)) == [False, False]


async def test_a_module_that_nobody_enrolled_holds_up_no_other(verifier: Verifier) -> None:
    items = [signed(module_id=OTHER), maced(module_id=OTHER), maced(), signed()]
    assert list(await verifier.verify(items)) == [False, False, True, True]


async def test_a_key_is_asked_for_once(verifier: Verifier, security: Security) -> None:
    await verifier.verify([signed(1), signed(2)])
    await verifier.verify([signed(3)])
    assert security.asked == 1


async def test_an_absent_service_is_no_verdict(verifier: Verifier, security: Security) -> None:
    security.away = True
    with pytest.raises(EngineError):
        await verifier.verify([signed()])
    security.away = False
    assert list(await verifier.verify([signed()])) == [True]


async def test_the_event_loop_goes_on_while_signatures_are_checked(verifier: Verifier) -> None:
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(tick())
    await verifier.verify([signed(number) for number in range(1, 40)])
    task.cancel()
    assert turns > 5


async def test_nothing_to_verify_is_no_question(verifier: Verifier, security: Security) -> None:
    assert list(await verifier.verify([])) == []
    assert security.asked == 0
