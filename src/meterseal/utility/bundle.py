"""A bill with everything that proves it, checked by anybody without the system: arithmetic, signatures, ledger.

Pure; it makes no bundle (the application does) and asks nobody. What it trusts is one root certificate.

A bundle is one JSON object, bytes in base64: `bill` (as `bill show --json`), `modules` (chain of each module that
signed), `root`, and since there is a ledger `checkpoint` (a signed note), `ledger_keys` and `records`: number, digest,
salt, plaintext and audit path of each record in which a register of the bill was accepted. A bundle without these is of
before, and is checked without them. Nothing in it is believed: a word that the bill uses and that the proofs do not bear
is a fault. What is between two signed registers (the hours of a band) is not in it; their sum is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec
from msgspec import Struct

from meterseal.crypto import certificates, merkle
from meterseal.crypto.symmetric import hmac_sm3, sm3
from meterseal.errors import DataError, MetersealError, TrustError
from meterseal.link.evidence import EvidenceStatement, check_signature, unpack
from meterseal.mdms.ledger.leaves import Added, Delivered, Part, RolledUp, read
from meterseal.model import MAIN
from meterseal.security.checkpoints import Checkpoint, LedgerKey, check_key, verified
from meterseal.utility import arithmetic
from meterseal.utility.arithmetic import EXPONENTS
from meterseal.utility.bills import Bill, Boundary
from meterseal.utility.calendar import local
from meterseal.utility.proof import ORDER
from meterseal.utility.views import Assurance

FORMAT = "meterseal bill bundle 1"
LARGEST = 8 * 1024 * 1024
_SIGNED: tuple[Assurance, ...] = ("meter-signed", "meter-chained")


class ModuleChain(Struct, frozen=True, kw_only=True):
    """Certificates of one module: leaf, CA (DER)."""

    device_id: bytes
    chain: tuple[bytes, ...]


class ProvenRecord(Struct, frozen=True, kw_only=True):
    """One leaf of the ledger with its audit path; `plaintext` is the JSON of `mdms.ledger.leaves`."""

    number: int
    digest: bytes
    salt: bytes
    plaintext: str
    path: tuple[bytes, ...]


class Bundle(Struct, frozen=True, kw_only=True):
    """See above."""

    bill: Bill
    modules: tuple[ModuleChain, ...]
    root: bytes
    format: str = FORMAT
    checkpoint: str = ""
    ledger_keys: tuple[LedgerKey, ...] = ()
    records: tuple[ProvenRecord, ...] = ()


class CheckedLine(Struct, frozen=True, kw_only=True):
    """A line of the bill: what it says of itself, in fen."""

    name: str
    amount_fen: int
    assurance: Assurance


class CheckedRegister(Struct, frozen=True, kw_only=True):
    """One register on the bill: who stands behind it, and which leaves of the ledger hold it."""

    end_at: int
    register: int
    exponent: int
    signed_by: str
    """"meter", "platform" (suite 2), "concentrator", "nobody" or "estimate"."""
    leaves: tuple[int, ...]
    channel: int = MAIN
    """3 is of what was fed in."""


class CheckedMultiplier(Struct, frozen=True, kw_only=True):
    """What the difference of registers in since <= t < until is multiplied by: the utility's word, which no meter signs."""

    since: int
    until: int
    multiplier: Decimal


class Checked(Struct, frozen=True, kw_only=True):
    """What a bundle proves. `checkpoint` 0: it has no ledger part. `root` is SM3 of the root that was trusted, hex."""

    bill_id: str
    good: bool
    faults: tuple[str, ...]
    lines: tuple[CheckedLine, ...]
    registers: tuple[CheckedRegister, ...]
    multipliers: tuple[CheckedMultiplier, ...]
    checkpoint: int
    checkpoint_at: int
    leaves: int
    root: str


def packed(bundle: Bundle) -> str:
    """The JSON of a bundle; bytes in base64."""
    return msgspec.json.encode(bundle).decode()


def unpacked(content: bytes) -> Bundle:
    """A bundle from its JSON. DataError `bill.bundle` for anything else."""
    try:
        return msgspec.json.decode(content[:LARGEST], type=Bundle)
    except (ValueError, RecursionError) as error:
        raise DataError(
            "bill.bundle",
            f"This is no bundle of a bill ({str(error)[:120]}); give the file as it was handed out.",
        ) from None


def check(bundle: Bundle, root: bytes | None = None) -> Checked:
    """Check a bundle under a root certificate (DER); under the bundle's own when none is given.

    DataError `bill.bundle` when its numbers are none that a bill has.
    """
    if not arithmetic.sound(bundle.bill):
        raise DataError(
            "bill.bundle",
            "This bundle has numbers that no bill has; ask for the bill as it was issued.",
        )
    trusted = bundle.root if root is None else root
    faults: list[str] = [] if trusted == bundle.root else ["The bundle is of a system with another root."]
    faults += arithmetic.faults(bundle.bill)
    points = dict(_points(bundle, trusted, faults))
    checkpoint, said = _ledger(bundle, trusted, faults)
    registers: dict[tuple[int, Boundary], CheckedRegister] = {}
    for channel, edge in arithmetic.registers(bundle.bill):
        if (channel, edge) not in registers:
            registers[channel, edge] = _register(channel, edge, bundle, points, said, faults)
    for number, determinant in enumerate(bundle.bill.determinants):
        edges = list(arithmetic.edges_of(determinant))
        held = {registers[determinant.channel, edge].signed_by for edge in edges}
        if determinant.assurance in _SIGNED and held != {"meter"}:
            faults.append(
                f"Quantity {number} is called {determinant.assurance}, and no meter signed both its registers."
            )
        for edge in edges:
            if (
                ORDER.index(determinant.assurance) < ORDER.index(edge.assurance)
                and determinant.assurance not in _SIGNED
            ):
                faults.append(
                    f"Quantity {number} is called {determinant.assurance}, and a register is {edge.assurance}."
                )
    return Checked(
        bill_id=bundle.bill.bill_id,
        good=not faults,
        faults=tuple(faults),
        lines=tuple(
            CheckedLine(
                name=str(
                    line.charge.band or (f"tier {line.charge.tier}" if line.charge.tier else line.charge.kind)
                ),
                amount_fen=line.charge.amount_fen,
                assurance=line.assurance,
            )
            for line in bundle.bill.lines
        ),
        registers=tuple(sorted(registers.values(), key=lambda one: (one.end_at, one.channel, one.register))),
        multipliers=tuple(
            CheckedMultiplier(since=since, until=until, multiplier=factor)
            for since, until, factor in sorted(
                {(p.since, p.until, p.multiplier) for one in bundle.bill.determinants for p in one.multiplied}
            )
        ),
        checkpoint=checkpoint.number if checkpoint else 0,
        checkpoint_at=checkpoint.at if checkpoint else 0,
        leaves=checkpoint.size if checkpoint else 0,
        root=sm3(trusted).hex(),
    )


# --- signatures ---------------------------------------------------------------------------------------


def _points(bundle: Bundle, root: bytes, faults: list[str]) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    for module in bundle.modules:
        yield module.device_id.hex(), module.chain
        try:
            leaf = certificates.parse(module.chain[0])
            certificates.verify_chain(module.chain, root=root, purpose="device", at=leaf.since)
            if leaf.identity("device") != module.device_id:
                raise TrustError("crypto.identity", "The certificate is another device's.")
        except (MetersealError, IndexError) as error:
            faults.append(f"The certificate of device {module.device_id.hex()} does not hold: {error}")


def _register(
    channel: int,
    edge: Boundary,
    bundle: Bundle,
    chains: dict[str, tuple[bytes, ...]],
    said: list[tuple[int, Part | Added]],
    faults: list[str],
) -> CheckedRegister:
    signed_by = {"estimated": "estimate", "vouched": "concentrator"}.get(edge.assurance, "nobody")
    where = f"the register of {local(edge.end_at):%Y-%m-%d %H:%M}"
    statement: EvidenceStatement | None = None
    if edge.evidence is not None:
        try:
            raw, signature = bytes.fromhex(edge.evidence.statement), bytes.fromhex(edge.evidence.signature)
            statement = unpack(raw)
        except (ValueError, MetersealError):
            faults.append(f"The statement about {where} is none.")
        else:
            if (statement.end_at, statement.channel, statement.device_id.hex()) != (
                edge.end_at,
                channel,
                edge.evidence.device_id,
            ) or Decimal(statement.register).scaleb(statement.exponent) != Decimal(edge.register).scaleb(
                edge.exponent
            ):
                faults.append(f"What the meter stated is not {where}.")
            if edge.evidence.suite != 1:
                signed_by = "platform"
            elif _signs(chains.get(edge.evidence.device_id, ()), raw, signature):
                signed_by = "meter"
            else:
                faults.append(f"The meter's signature over {where} does not hold.")
    if edge.assurance == "meter-signed" and signed_by != "meter":
        faults.append(f"Nobody shows that the meter signed {where}.")
    leaves = tuple(number for number, leaf in said if _holds(leaf, channel, edge, statement))
    if bundle.checkpoint and edge.evidence is not None and not leaves:
        faults.append(f"No record of the ledger in this bundle holds {where}.")
    return CheckedRegister(
        end_at=edge.end_at,
        register=edge.register,
        exponent=edge.exponent,
        signed_by=signed_by,
        leaves=leaves,
        channel=channel,
    )


def _signs(chain: tuple[bytes, ...], statement: bytes, signature: bytes) -> bool:
    try:
        return bool(chain) and check_signature(certificates.parse(chain[0]).point, statement, signature)
    except MetersealError:
        return False


# --- ledger -------------------------------------------------------------------------------------------


def _ledger(
    bundle: Bundle, root: bytes, faults: list[str]
) -> tuple[Checkpoint | None, list[tuple[int, Part | Added]]]:
    """The checkpoint, and what the records under it say."""
    if not bundle.checkpoint:
        if bundle.records:
            faults.append("Records are shown without a checkpoint.")
        return None, []
    try:
        for key in bundle.ledger_keys:
            check_key(key, root)
        checkpoint = verified(bundle.checkpoint, bundle.ledger_keys)
    except MetersealError as error:
        faults.append(f"The checkpoint does not hold: {error}")
        return None, []
    said = []
    for record in bundle.records:
        content = record.plaintext.encode()
        leaf = merkle.leaf_hash(record.digest, hmac_sm3(record.salt, content))
        if not merkle.included(leaf, record.number, checkpoint.size, record.path, checkpoint.root):
            faults.append(f"Record {record.number} is not in the ledger of checkpoint {checkpoint.number}.")
            continue
        try:
            parsed = read(content)
        except (ValueError, RecursionError):  # whoever made up a root made up its ledger
            faults.append(f"Record {record.number} is no leaf of a ledger.")
            continue
        if isinstance(parsed, Delivered | RolledUp) or parsed.owner != bundle.bill.usage_point:
            faults.append(f"Record {record.number} is of another usage point.")
            continue
        said.append((record.number, parsed))
    return checkpoint, said


def _holds(leaf: Part | Added, channel: int, edge: Boundary, statement: EvidenceStatement | None) -> bool:
    """Does a leaf say this register, as the meter's reading or statement, or where it stated nothing as an estimate?"""
    if isinstance(leaf, Added):
        version = leaf.version
        return (
            statement is None
            and version.channel == channel
            and _in_series(version.start_at, version.step, version.registers, version.exponent, edge)
        )
    if statement is not None and any(one.statement == statement.pack() for one in leaf.evidence):
        return True
    return any(
        one.channel == channel
        and (statement is None or one.device_id == statement.device_id)
        and _in_series(one.start_at, one.step, one.registers, one.exponent, edge)
        for one in leaf.series
    )


def _in_series(
    start_at: int, step: int, registers: Sequence[int | None], exponent: int, edge: Boundary
) -> bool:
    place, odd = divmod(edge.end_at - start_at, step) if step else (0, edge.end_at - start_at)
    if odd or not 0 <= place < len(registers) or (found := registers[place]) is None:
        return False
    return exponent in EXPONENTS and Decimal(found).scaleb(exponent) == Decimal(edge.register).scaleb(
        edge.exponent
    )
