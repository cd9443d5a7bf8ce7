"""`meterseal keys module …`: a module in a PC/SC reader, or of a simulated fleet, under an order that officers signed.

It decides nothing and holds no key: the service answers the module's challenges, the module judges the answers. Without
a module at hand the challenge is typed in and the answer printed, for another program that drives the card.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from meterseal.cli.answers import say
from meterseal.cli.arguments import Data, Json
from meterseal.cli.calls import ask_keys
from meterseal.cli.passphrases import secret
from meterseal.edge import chip as life
from meterseal.edge.apdu import CardIns, ModulePort, Sw, pack
from meterseal.edge.card import Card
from meterseal.edge.chip import PublicState
from meterseal.edge.pcsc import PcscPort, readers
from meterseal.errors import LocalError
from meterseal.link.cardkeys import Purpose
from meterseal.security import cardorders, officerfile, orders
from meterseal.security.sdk import SecuritySdk

T = TypeVar("T")
LIVES = ("factory", "personalised", "active", "locked", "destroyed")
assert LIVES.index("locked") == life.LOCKED


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a module is."""

    reader: Annotated[
        str | None,
        Parameter(help="Name of the PC/SC reader that the module lies in; `any` for the first one."),
    ] = None
    memory: Annotated[
        Path | None, Parameter(help="Directory of a simulated fleet's modules (it holds modules.db).")
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Afar(Place):
    """Where a module is, or what it asked when another program drives it."""

    challenge: Annotated[
        str,
        Parameter(help="Instead of a module at hand: its challenge, 32 hex digits; the answer is printed."),
    ] = ""


HERE, AFAR = Place(), Afar()


class ServiceIssuer:
    """The issuer of a card session (`edge.card.Issuer`): every answer is asked of the running service."""

    def __init__(
        self, data: Path, order: orders.SignedOrder, asked: cardorders.CardOrder, version: int
    ) -> None:
        self._data, self._order, self._asked, self._version = data, order, asked, version

    def answer(self, purpose: Purpose, challenge: bytes) -> bytes:
        asked = cardorders.CardAsk(**self._fields(challenge))
        return self._call(lambda sdk: sdk.card_answer(asked))

    def mac(self, challenge: bytes, header: bytes, content: bytes) -> bytes:
        asked = cardorders.CardMac(**self._fields(challenge), header=header, content=content)
        return self._call(lambda sdk: sdk.card_mac(asked))

    def sealed(self, challenge: bytes, header: bytes, plain: bytes) -> bytes:
        asked = cardorders.CardSeal(**self._fields(challenge), header=header, plain=plain)
        return self._call(lambda sdk: sdk.card_seal(asked))

    def proves(self, challenge: bytes, answer: bytes) -> bool:
        """Is this the enrolled module's answer to INTERNAL AUTHENTICATE?"""
        asked = cardorders.CardCheck(**self._fields(challenge), answer=answer)
        return self._call(lambda sdk: sdk.card_check(asked))

    def _fields(self, challenge: bytes) -> dict[str, Any]:
        return {
            "order": self._order,
            "device_id": self._asked.device_id,
            "module_id": self._asked.module_id,
            "challenge": challenge,
            "key_version": self._version,
        }

    def _call(self, call: Callable[[SecuritySdk], Awaitable[T]]) -> T:
        return ask_keys(self._data, call)


def state(*, place: Place = HERE, module: str = "", json: Json = False) -> int:
    """Say what a module is: ids, life, tries that are left.

    Parameters
    ----------
    module
        With --memory: which one, 16 hex digits.
    """
    with _port(place, _hex("module", module, 8) if place.memory else b"", b"") as port:
        return _shown(Card(port).state(), as_json=json)


def check(
    order: Path,
    *,
    data: Data,
    place: Place = HERE,
    challenge: str = "",
    answer: str = "",
    json: Json = False,
) -> int:
    """Ask whether a module is the one that was enrolled (INTERNAL AUTHENTICATE); status 1 when it is not.

    Parameters
    ----------
    order
        A `card-check` request, signed by one officer.
    challenge
        Instead of a module at hand: what it was asked, 32 hex digits.
    answer
        What it said to that, 16 hex digits.
    """
    signed, asked = _order(order, cardorders.CHECK)
    if challenge or answer:
        issuer = ServiceIssuer(data, signed, asked, 0)
        genuine = issuer.proves(_hex("challenge", challenge, 16), _hex("answer", answer, 8))
    else:
        with _module(asked, place, locked=False) as (card, found):
            fresh = os.urandom(16)
            said = card.internal(fresh)
            genuine = ServiceIssuer(data, signed, asked, found.key_version).proves(fresh, said)
    named = f"Module {asked.module_id.hex()} of device {asked.device_id.hex()}"
    line = f"{named} {'is the enrolled one' if genuine else 'IS NOT the enrolled one'}."
    say({"module_id": asked.module_id, "genuine": genuine}, as_json=json, lines=[line])
    return 0 if genuine else 1


def unlock(order: Path, *, data: Data, place: Afar = AFAR, json: Json = False) -> int:
    """Unlock a module that wrong PINs, wrong answers or an order locked.

    Parameters
    ----------
    order
        A `card-unlock` request, signed by two officers.
    """
    return _external(order, data, Purpose.UNLOCK, place, as_json=json)


def lock(order: Path, *, data: Data, place: Afar = AFAR, json: Json = False) -> int:
    """Lock a module: it answers nothing more until it is unlocked.

    Parameters
    ----------
    order
        A `card-lock` request, signed by two officers.
    """
    return _external(order, data, Purpose.LOCK, place, as_json=json)


def destroy(order: Path, *, data: Data, place: Afar = AFAR, json: Json = False) -> int:
    """Erase every key in a module for good.

    Parameters
    ----------
    order
        A `card-destroy` request, signed by two officers.
    """
    return _external(order, data, Purpose.DESTROY, place, as_json=json)


def pin(
    order: Path,
    *,
    data: Data,
    place: Place = HERE,
    pin_file: Path | None = None,
    json: Json = False,
) -> int:
    """Give a module a new PIN, with all its tries.

    Parameters
    ----------
    order
        A `card-rights` request, signed by one officer.
    pin_file
        The new PIN, 6 to 8 digits, mode 0600; typed when absent.
    """
    signed, asked = _order(order, cardorders.RIGHTS)
    fresh = secret(pin_file, "New PIN: ").decode("ascii", errors="replace")
    with _module(asked, place, locked=False) as (card, found):
        issuer = ServiceIssuer(data, signed, asked, found.key_version)
        card.external(issuer)
        card.set_pin(issuer, fresh)
        return _shown(card.state(), as_json=json)


def _external(path: Path, data: Path, purpose: Purpose, place: Afar, *, as_json: bool) -> int:
    signed, asked = _order(path, f"card-{purpose.name.lower()}")
    if place.challenge:
        typed = _hex("challenge", place.challenge, 16)
        answer = ServiceIssuer(data, signed, asked, 0).answer(purpose, typed)
        return say({"answer": answer}, as_json=as_json, lines=[answer.hex()])
    with _module(asked, place, locked=purpose is Purpose.UNLOCK) as (card, found):
        card.external(ServiceIssuer(data, signed, asked, found.key_version), purpose)
        return _shown(card.state(), as_json=as_json)


def _order(path: Path, purpose: str) -> tuple[orders.SignedOrder, cardorders.CardOrder]:
    file = officerfile.read(path, officerfile.RequestFile)
    if file.purpose != purpose:
        raise LocalError(
            "use.order",
            f"{path} is an order for {file.purpose}, and this needs one for {purpose}: meterseal keys request {purpose}",
        )
    return file.order, orders.decoded(file.request, cardorders.CardOrder)


@contextmanager
def _module(asked: cardorders.CardOrder, place: Place, *, locked: bool) -> Iterator[tuple[Card, PublicState]]:
    """The module that the order is for, after what can be seen before the order is used up."""
    with _port(place, asked.module_id, asked.device_id) as port:
        card = Card(port)
        found = card.state()
        if (found.module_id, found.device_id) != (asked.module_id, asked.device_id):
            raise LocalError(
                "module.other",
                f"This is module {found.module_id.hex()} of device {found.device_id.hex()}, and the order is for "
                f"{asked.module_id.hex()} of {asked.device_id.hex()}; nothing was done.",
            )
        if (found.life == life.LOCKED) != locked or found.life in (life.FACTORY, life.DESTROYED):
            raise LocalError(
                "module.life",
                f"The module is {LIVES[found.life]}, so there is nothing to do; nothing was done.",
            )
        word = int.from_bytes(port.transmit(pack(CardIns.VERIFY, p2=1))[-2:], "big")
        if word == Sw.SECURITY:
            raise LocalError(
                "module.paired",
                "This module belongs to a device and answers in it alone, unless it is locked; leave it in its device. "
                "Nothing was done.",
            )
        yield card, found


@contextmanager
def _port(place: Place, module_id: bytes, device_id: bytes) -> Iterator[ModulePort]:
    reader, memory = place.reader, place.memory
    if (reader is None) == (memory is None):
        raise LocalError("use.module", "Say where the module is: --reader NAME, or --memory DIRECTORY.")
    if reader is not None:
        there = readers()
        name = there[0] if reader == "any" and there else reader
        with PcscPort(name) as port:
            yield port
        return
    from meterseal.edge.memories import MEMORY, Memories

    assert memory is not None
    if not (memory / MEMORY).is_file():
        raise LocalError("use.module", f"{memory} holds no modules ({MEMORY}); name the fleet's directory.")
    memories = Memories(memory)
    try:
        yield memories.port(module_id, device_id)
    finally:
        memories.close()


def _hex(name: str, text: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise LocalError(f"use.{name}", f"--{name} takes {2 * size} hex digits.")
    return value


def _shown(found: PublicState, *, as_json: bool) -> int:
    facts = {
        "module_id": found.module_id,
        "device_id": found.device_id,
        "life": LIVES[found.life],
        "suite": found.suite,
        "key_version": found.key_version,
        "paired": found.paired,
        "left": found.left,
    }
    line = f"Module {found.module_id.hex()} of device {found.device_id.hex()} is {LIVES[found.life]}."
    return say(facts, as_json=as_json, lines=[line])
