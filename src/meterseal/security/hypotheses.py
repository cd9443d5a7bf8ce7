"""Under which neighbouring key a HELLO was made: versions, addresses, modules, projects and regions that are one
mistake away from what was expected.

It keeps no key, and says which hypothesis held, never the key itself; `diagnosis` turns that into words.

Hypotheses are tried with the fewest mistakes first, and there is a most of them. Keys of versions that were withdrawn
are computed from PROJECT, of other projects from REGION, of other regions from ROOT; a level that this service
does not hold (any more) leaves its hypotheses untried, and `Trial.untried` names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from msgspec import Struct

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import TrustError
from meterseal.link.messages import Hello
from meterseal.link.schedule import hello_mac
from meterseal.security.hierarchy import project_factors
from meterseal.security.vault import Vault

MOST = 6_000
_TYPE = 1
"""Bytes of a device id before the address: the type."""

FACTORY = {
    "all zero": bytes(16),
    "all FF": b"\xff" * 16,
    "the example of GB/T 32907": bytes.fromhex("0123456789abcdeffedcba9876543210"),
}
"""Bound keys that modules leave a factory with before they are personalised."""


class Guess(Struct, frozen=True):
    """From what a bound key may have been made."""

    device_id: bytes
    module_id: bytes
    version: int
    project_id: bytes

    def mistakes(self, other: Guess) -> int:
        """In how many ways this differs from another guess; a region counts beside its project."""
        return (
            (self.device_id != other.device_id)
            + (self.module_id != other.module_id)
            + (self.version != other.version)
            + (self.project_id[:8] != other.project_id[:8])
            + (self.project_id[8:] != other.project_id[8:])
        )


class Trial(Struct, frozen=True, kw_only=True):
    """What came of it: the guess that held (or a factory key by name), how many were tried, what could not be."""

    guess: Guess | None
    factory: str = ""
    check_value: bytes = b""
    tried: int = 0
    untried: tuple[str, ...] = ()


def orders(device_id: bytes) -> dict[str, bytes]:
    """The ways in which tools confuse the order of a device id's bytes, by name."""
    kind, address = device_id[:_TYPE], device_id[_TYPE:]
    swapped = b"".join(bytes((byte >> 4 | (byte & 15) << 4,)) for byte in reversed(address))
    return {
        "address low byte first": kind + address[::-1],
        "all eight bytes turned round": device_id[::-1],
        "address turned round digit by digit": kind + swapped,
        "electricity address low byte first": device_id[:2] + device_id[2:][::-1],
    }


def projects_near(project_id: bytes) -> dict[str, bytes]:
    """The ways in which a project id is entered wrongly, by name."""
    region, code = project_factors(project_id)
    return {
        "region code turned round": region[::-1] + code,
        "region code left empty": bytes(8) + code,
        "domain and business type exchanged": region + code[2:4] + code[:2] + code[4:],
        "project number turned round": region + code[:4] + code[4:][::-1],
        "project number left empty": region + code[:4] + bytes(4),
        "domain, business type and number left empty": region + bytes(8),
    }


class Keys:
    """The bound keys of guesses, from an open vault."""

    def __init__(self, vault: Vault, project_id: bytes) -> None:
        self._vault = vault
        self._project_id = project_id
        self._projects: dict[bytes, SymmetricKey | None] = {}
        self.untried: set[str] = set()

    def bound(self, guess: Guess) -> SymmetricKey | None:
        """K_b of a guess; None when its level is not at hand."""
        project = self._project(guess.project_id)
        if project is None:
            return None
        factor = b"DIAK\x00\x00\x00" + guess.version.to_bytes(1)
        diak = project.diversify(factor, "a guess")
        return diak.diversify(guess.device_id, "a guess").diversify(guess.module_id, "a guess")

    def _project(self, project_id: bytes) -> SymmetricKey | None:
        if project_id not in self._projects:
            self._projects[project_id] = self._made(project_id)
        return self._projects[project_id]

    def _made(self, project_id: bytes) -> SymmetricKey | None:
        region, code = project_factors(project_id)
        level = "PROJECT"
        try:
            if project_id == self._project_id:
                return self._vault.symmetric(level, 1)
            level = "REGION"
            if region == self._project_id[:8]:
                return self._vault.symmetric(level, 1).diversify(code, "a guess")
            level = "ROOT"
            return self._vault.symmetric(level, 1).diversify(region, "a guess").diversify(code, "a guess")
        except TrustError:
            self.untried.add(level)
            return None


def guesses(
    expected: Guess,
    *,
    devices: Iterable[bytes],
    modules: Iterable[bytes],
    versions: Iterable[int],
    projects: Iterable[bytes],
) -> list[Guess]:
    """Every combination, the expected one first and then by number of mistakes; at most `MOST`."""
    every: Iterator[Guess] = (
        Guess(device, module, version, project)
        for device, module, version, project in product(
            dict.fromkeys((expected.device_id, *devices)),
            dict.fromkeys((expected.module_id, *modules)),
            dict.fromkeys((expected.version, *(v for v in versions if 0 < v < 256))),
            dict.fromkeys((expected.project_id, *projects)),
        )
    )
    return sorted(every, key=expected.mistakes)[:MOST]


def try_hello(hello: Hello, keys: Keys, order: Sequence[Guess]) -> Trial:
    """The first guess under which the HELLO's mac holds."""
    claims = hello.claims()

    def holds(bound: SymmetricKey) -> bool:
        return equal(hello_mac(bound.diversify(b"LINK0001", "a guess"), claims), hello.mac)

    for tried, guess in enumerate(order, 1):
        bound = keys.bound(guess)
        if bound is not None and holds(bound):
            return Trial(guess=guess, check_value=bound.check_value(), tried=tried)
    for name, raw in FACTORY.items():
        if holds(SymmetricKey.from_bytes(raw, "a factory key")):
            return Trial(guess=None, factory=name, tried=len(order) + 1)
    return Trial(guess=None, tried=len(order) + len(FACTORY), untried=tuple(sorted(keys.untried)))
