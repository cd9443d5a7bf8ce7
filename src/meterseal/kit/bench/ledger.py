"""Beside the path: leaves appended to the ledger, proofs made and proofs checked, beside the bare hashes that they need.

The bound of a leaf is its hashes alone: HMAC over the plaintext and for the salt, SM3 for the leaf and for one inner node.
The bound of a proof is one SM3 for each hash in it.
"""

from __future__ import annotations

import random
import tempfile
from contextlib import ExitStack
from pathlib import Path

from meterseal.control import open_control
from meterseal.control.sealing import KeyRing
from meterseal.crypto import merkle
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import EngineError
from meterseal.kit.bench import raw
from meterseal.kit.bench.timing import Case, Limit, Watch
from meterseal.mdms.entries import Entry, Place
from meterseal.mdms.ledger.leaves import parts_of, plaintext
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.model import MAIN, Batch, Opened, Series

HOUR = 3_600_000
FIRST = 1_793_462_400_000  # 2026-11-01 00:00 in Shanghai
METERS, AT_ONCE = 500, 500
TREE = 10_000
_NODE = 65
_SALT = 17


def cases(stack: ExitStack, seconds: float) -> list[Case]:
    """The rows, in a directory of their own that goes away."""
    raw.able()
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meterseal-bench-")))
    engine = open_control(root / "control.db")
    stack.callback(engine.dispose)
    keys = KeyRing({1: SymmetricKey.generate("a data key of a benchmark")}, 1)
    ledger = Ledger(root / "ledger", "st-bench", engine, keys, {}, 0)
    stack.callback(ledger.close)
    counter = _grow(ledger, 0, TREE)
    size = len(plaintext(parts_of(_record(0, 1), {})[0]))
    digest = sm3(b"one")

    def bare(watch: Watch) -> int:
        with watch:
            for _ in range(AT_ONCE):
                sm3(b"\x01", digest, digest)
        return AT_ONCE

    def append(watch: Watch) -> int:
        nonlocal counter
        records = _records(counter)
        entry = Entry(Batch(records), _PLACES)
        counter += 1
        with watch:
            ledger.note(counter, records, entry)
            ledger.take_up()
        return len(records)

    generator = random.Random(6962)

    def prove(watch: Watch) -> int:
        wanted = [generator.randrange(TREE) for _ in range(AT_ONCE)]
        with watch:
            for leaf in wanted:
                ledger.inclusion(leaf, TREE)
        return AT_ONCE

    leaf, path = ledger.inclusion(TREE // 3, TREE)
    top = ledger.root(TREE)

    def check(watch: Watch) -> int:
        with watch:
            for _ in range(AT_ONCE):
                if not merkle.included(leaf, TREE // 3, TREE, path, top):
                    raise EngineError("bench.proof", "A good proof did not hold; see meterseal doctor.")
        return AT_ONCE

    node, depth = raw.sm3(_NODE), len(path)
    hashes = Limit("bare hashes of a leaf", ((1, raw.hmac(size)), (1, raw.hmac(_SALT)), (2, node)))
    each = Limit("one bare SM3 a hash of the path", ((depth, node),))
    return [
        Case(
            name="SM3 of an inner node",
            unit="hashes per CPU second",
            work=bare,
            limit=Limit("the bare library call", ((1, node),)),
        ),
        Case(name="leaf appended", unit="leaves per CPU second", work=append, limit=hashes),
        Case(name=f"inclusion proved, {TREE} leaves", unit="proofs per CPU second", work=prove, limit=each),
        Case(name="inclusion checked", unit="proofs per CPU second", work=check, limit=each),
    ]


def _device(number: int) -> bytes:
    return b"\x10" + number.to_bytes(7)


_PLACES = tuple(Place(_device(number), f"up-{number:08d}", "water", 0, 0) for number in range(METERS))


def _record(number: int, counter: int) -> Opened:
    """A day of hours of one meter, as its record carried them."""
    start = FIRST + counter * 24 * HOUR + HOUR
    registers = tuple(1000 * number + 20 * (24 * counter + hour) for hour in range(24))
    series = Series(_device(number), MAIN, "m3", -2, start, HOUR, registers)
    session = number.to_bytes(8)
    return Opened(
        session_id=session,
        counter=counter + 1,
        device_id=_device(number),
        module_id=session,
        suite=1,
        origin="sealed",
        received_at=start + 24 * HOUR,
        digest=sm3(session, counter.to_bytes(6)),
        series=(series,),
    )


def _records(counter: int) -> tuple[Opened, ...]:
    return tuple(_record(number, counter) for number in range(METERS))


def _grow(ledger: Ledger, counter: int, leaves: int) -> int:
    """A tree that lies on the disk, as one does that is asked for proofs."""
    while ledger.size < leaves:
        records = _records(counter)
        counter += 1
        ledger.note(counter, records, Entry(Batch(records), _PLACES))
        ledger.take_up()
    ledger.kept(ledger.keep(counter), counter)
    return counter
