"""Officers for the tests: their keys, their cards, and orders that they sign."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.mesh.rpc import InProcess
from meterseal.security import orders as o
from meterseal.security.sdk import SecuritySdk

from .conftest import NOW, PROJECT, Bench

HOUR = 3_600_000
EVERY_ROLE = ("enrol", "keys", "ca", "command")


class Person:
    """Somebody with a key of their own."""

    def __init__(self, officer: str, roles: tuple[str, ...] = EVERY_ROLE) -> None:
        self.officer, self.roles = officer, roles
        self.key = Sm2PrivateKey.generate(officer)

    @property
    def card(self) -> o.OfficerCard:
        return o.card(self.officer, self.roles, self.key)

    def sign(self, purpose: str, request: bytes) -> o.OfficerSignature:
        return o.sign(self.officer, self.key, purpose, request)


def operator(bench: Bench) -> SecuritySdk:
    """The command line of the account that runs the system."""
    return SecuritySdk(InProcess(bench.service.methods(), "operator"))


async def founded(bench: Bench, *people: Person) -> tuple[Person, ...]:
    """The first officers of a system: two with every role unless others are given."""
    people = people or (Person("an"), Person("bo"))
    await operator(bench).found_officers(o.Founding(cards=tuple(person.card for person in people)))
    return people


def ordered(purpose: str, request: Struct, signers: Iterable[Person]) -> o.SignedOrder:
    """The order that these people signed."""
    raw = o.encoded(request)
    return o.SignedOrder(
        purpose=purpose, request=raw, signatures=tuple(person.sign(purpose, raw) for person in signers)
    )


def fields(not_after: int = NOW + HOUR) -> dict[str, object]:
    """What every request carries."""
    return {"request_id": o.fresh_request_id(), "not_after": not_after, "project_id": PROJECT}
