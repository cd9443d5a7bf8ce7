"""Fuzz target: the module's port; whatever bytes arrive, a status word comes back and no exception does.

Run: python tests/fuzz/fuzz_apdu.py -atheris_runs=100000 (seeds in seeds/apdu are read unless a corpus is named).
The first byte of an input chooses the life of the module: factory, or factory with a key made inside.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["meterseal"]):
    from meterseal.crypto.handles import SymmetricKey
    from meterseal.edge.chip import Chip
    from meterseal.edge.module import Module
    from meterseal.edge.nv import MemoryNv, SealedNv

SEEDS = Path(__file__).parent / "seeds" / "apdu"
SERIAL = b"MS\x00\x00\xbc\x00\x00\x01"


def powered(life: int) -> Module:
    """A fresh module in one of two lives."""
    module = Module(SealedNv(MemoryNv(), SymmetricKey.from_bytes(b"s" * 16, "a test's storage key"), SERIAL))
    if life:
        Chip(module).make_key(SERIAL)
    return module


MODULES = (powered(0), powered(1))


def one_input(raw: bytes) -> None:
    """One command to one of two modules; the answer always ends in a status word."""
    if not raw:
        return
    answer = MODULES[raw[0] & 1].transmit(raw[1:])
    assert len(answer) >= 2, raw.hex()


def main() -> None:
    """Fuzz until told to stop."""
    arguments = sys.argv if any(not one.startswith("-") for one in sys.argv[1:]) else [*sys.argv, str(SEEDS)]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
