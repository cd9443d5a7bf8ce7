"""A personalised module with its card side at hand, for the tests of the card commands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.card import Card, IssuerKeys
from meterseal.edge.chip import Chip
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, NvStore, SealedNv, SqliteNv
from meterseal.errors import TrustError
from tests.edge.platform import STORAGE, Platform

WATER = bytes.fromhex("1078330000000001")
MODULE = bytes.fromhex("4d53000000000001")
PIN, PUK = "135790", "24680246"
ROOT_KEY = SymmetricKey.from_bytes(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"), "the vectors' root")


class Shared(SqliteNv):
    """Memory in a file whose lock was got around, so that several programs have it at once."""

    def hold(self) -> None:
        """Hold nothing."""


class Bench:
    """One module of suite 2 on a store, its issuer, and how to power it on again."""

    def __init__(self, store: NvStore | None = None, *, suite: int = 2, pin: bool = True) -> None:
        self.store = store if store is not None else MemoryNv()
        self.platform = Platform()
        self.chip, self.sealed = self.platform.module(WATER, MODULE, suite, self.store)
        self.issuer = IssuerKeys(self.platform.enrolled_modules[WATER].keys.auth)
        self.card = Card(self.chip._port)
        if pin:
            self.card.external(self.issuer)
            self.card.set_pin(self.issuer, PIN)
            self.card.set_puk(self.issuer, PUK)
            self.power()

    @property
    def port(self) -> Module:
        port = self.chip._port
        assert isinstance(port, Module)
        return port

    def power(self) -> Card:
        """Power off and on."""
        module = Module(SealedNv(self.store, STORAGE, MODULE))
        self.chip, self.card = Chip(module), Card(module)
        return self.card


def refused(act: Callable[[], object]) -> int:
    """The status word that this call was refused with."""
    with pytest.raises(TrustError) as error:
        act()
    return int(error.value.facts["word"] or 0)
