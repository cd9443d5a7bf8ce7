"""Fuzz target: the module's port; whatever bytes arrive, a status word comes back and no exception does.

Run: python tests/fuzz/fuzz_apdu.py -atheris_runs=100000 (seeds in seeds/apdu are read unless a corpus is named).
The first byte of an input chooses the life of the module: factory, factory with a key made inside, personalised,
with its PIN verified and its issuer authenticated, locked. The rest is one or more commands, each behind its
length in 2 bytes; a command before which GET CHALLENGE stands can so be an answer. No input may make the module
show a key or leave the life that strangers may bring it to.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["meterseal"]):
    from meterseal.crypto import sm2
    from meterseal.crypto.expose import expose
    from meterseal.crypto.handles import SymmetricKey
    from meterseal.edge.card import Card, IssuerKeys
    from meterseal.edge.chip import FACTORY, LOCKED, Chip, Personal
    from meterseal.edge.module import Module
    from meterseal.edge.nv import MemoryNv, SealedNv
    from meterseal.edge.storing import ENCRYPT
    from meterseal.link.cardkeys import Purpose
    from meterseal.link.schedule import bound_keys

SEEDS = Path(__file__).parent / "seeds" / "apdu"
SERIAL = b"MS\x00\x00\xbc\x00\x00\x01"
DEVICE = bytes.fromhex("1078330000000001")
STORAGE = SymmetricKey.from_bytes(b"s" * 16, "a test's storage key")
BOUND = SymmetricKey.from_bytes(bytes(range(100, 116)), "K_b of a test")
ROOT = SymmetricKey.from_bytes(bytes(range(50, 66)), "K_r of a test")
CARD_ROOT = SymmetricKey.from_bytes(bytes(range(200, 216)), "the card root of a test")
ISSUER = IssuerKeys(bound_keys(BOUND).auth)
SECRETS = [expose(key) for key in (BOUND, ROOT, CARD_ROOT, *bound_keys(BOUND))] + [b"135790\xff\xff"]
NEW, KEYED, PERSONALISED, TRUSTED, LOCKED_UP = range(5)


def powered(life: int) -> MemoryNv:
    """The memory of a module in one of five lives."""
    store = MemoryNv()
    chip = Chip(Module(SealedNv(store, STORAGE, SERIAL)))
    if life == NEW:
        return store
    point = chip.make_key(SERIAL)
    if life == KEYED:
        return store
    envelope = sm2.encrypt(point, expose(BOUND) + expose(ROOT))
    chip.personalise(Personal(DEVICE, 2, bytes(16), 1, 1_780_000_000_000, envelope))
    card = Card(chip._port)
    card.external(ISSUER)
    card.set_pin(ISSUER, "135790")
    card.set_puk(ISSUER, "24680246")
    card.write_key(ISSUER, 0, 1, CARD_ROOT, usage=ENCRYPT, levels=1)
    if life == LOCKED_UP:
        card.external(ISSUER, Purpose.LOCK)
    return store


MEMORIES = [dict(powered(life).pages) for life in range(5)]
AFTER = ((FACTORY, 1), (FACTORY, 1), (1, LOCKED), (1, LOCKED), (LOCKED,))
"""Lives that a module may be in after commands from somebody who knows no key."""


def commands(raw: bytes) -> list[bytes]:
    """The commands of an input; at most 24."""
    found = []
    while len(raw) > 2 and len(found) < 24:
        size = int.from_bytes(raw[:2], "big")
        found.append(raw[2 : 2 + size])
        raw = raw[2 + size :]
    return found


def one_input(raw: bytes) -> None:
    """Commands to one module of five; every answer ends in a status word and shows no key."""
    if not raw:
        return
    life = raw[0] % 5
    store = MemoryNv()
    store.pages = dict(MEMORIES[life])
    module = Module(SealedNv(store, STORAGE, SERIAL))
    if life == TRUSTED:
        card = Card(module)
        card.external(ISSUER)
        card.verify("135790")
    for command in commands(raw[1:]):
        answer = module.transmit(command)
        assert len(answer) >= 2, raw.hex()
        assert not any(secret in answer for secret in SECRETS), raw.hex()
    assert module.life in AFTER[life], raw.hex()
    if store.pages != MEMORIES[life]:
        again = Module(SealedNv(store, STORAGE, SERIAL))
        assert (again.fault, again.life) == ("", module.life), raw.hex()


def main() -> None:
    """Fuzz until told to stop."""
    arguments = sys.argv if any(not one.startswith("-") for one in sys.argv[1:]) else [*sys.argv, str(SEEDS)]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
