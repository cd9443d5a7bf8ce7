"""Station MDMS, leaves: cuts what was accepted into parts of one usage point and day, and says what a leaf is made of.

Pure; it keeps nothing, draws no salt and judges no reading.

A record may carry several meters (a concentrator vouched for them) and several days, and these may belong to different
people. So a record is one leaf for every usage point and local day it speaks of, nearly always one in all. The leaf of
a part is SM3(0 ‖ SM3(record) ‖ HMAC-SM3(salt, plaintext)); SM3(record) is `Opened.digest`, which the head-end took over
the bytes that travelled, and the plaintext is the JSON of the part. What the platform itself adds (an estimate, an
edit) is a leaf as well, with 0^32 where a record would be.

A day ends with midnight: a register read at 00:00:00 belongs to the day before it, as the profile that it closes does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from meterseal.crypto import merkle
from meterseal.crypto.symmetric import hmac_sm3
from meterseal.errors import PeerError
from meterseal.link.evidence import unpack
from meterseal.mdms.bulk import received_at, unpack_bulk
from meterseal.mdms.cutting import LATEST, split, storable
from meterseal.mdms.entries import Entry, Place, Rollup, Version
from meterseal.mdms.store.rows import EVER
from meterseal.model import Evidence, Opened, Origin, Series, Status

NO_RECORD = bytes(32)
"""Stands for SM3(record) where the platform itself added something."""
DAY = 86_400_000
_SHANGHAI = 8 * 3_600_000
LAST_DAY = 0xFFFF
"""Days are counted from 1970-01-01 in Shanghai up to here (2149); nonsense beyond lies in the last one."""


class Part(Struct, frozen=True, array_like=True, tag="record", gc=False):
    """What one record said of one usage point's day. `usage_point` is empty where the meter is installed nowhere.

    `device_id` is the meter, `speaker` the device whose session carried it: the same, or a concentrator.
    """

    usage_point: str
    medium: str
    day: int
    device_id: bytes
    session_id: bytes
    counter: int
    speaker: bytes
    module_id: bytes
    suite: int
    origin: Origin
    received_at: int
    series: tuple[Series, ...]
    statuses: tuple[Status, ...]
    evidence: tuple[Evidence, ...]

    @property
    def owner(self) -> str:
        """Under whose salt it stands."""
        return self.usage_point or f"device:{self.device_id.hex()}"

    def opened(self, digest: bytes) -> Opened:
        """This part as a record of its own."""
        return Opened(
            session_id=self.session_id,
            counter=self.counter,
            device_id=self.speaker,
            module_id=self.module_id,
            suite=self.suite,
            origin=self.origin,
            received_at=self.received_at,
            digest=digest,
            series=self.series,
            statuses=self.statuses,
            evidence=self.evidence,
        )


class Added(Struct, frozen=True, array_like=True, tag="version", gc=False):
    """New versions of readings that no record brought: an estimate, an edit or a judgement."""

    day: int
    version: Version

    @property
    def owner(self) -> str:
        """Under whose salt it stands."""
        return self.version.usage_point


class Delivered(Struct, frozen=True, array_like=True, tag="columns", gc=False):
    """Readings of many usage points that came at once as columns (`mdms.bulk`), from no record that a meter sealed.

    They are one leaf together. It is in nobody's bundle, and its salt is nobody's: it never leaves the system.
    """

    day: int
    columns: bytes

    @property
    def owner(self) -> str:
        """Under whose salt it stands."""
        return "columns"


class RolledUp(Struct, frozen=True, array_like=True, tag="rolled", gc=False):
    """From here on readings are missing by rule: which, follows from this leaf and from those before it."""

    day: int
    rollup: Rollup

    @property
    def owner(self) -> str:
        """Under whose salt it stands."""
        return "rolled"


Leaf = Part | Added | Delivered | RolledUp

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Leaf] = msgspec.json.Decoder(Leaf)


def plaintext(leaf: Leaf) -> bytes:
    """The bytes under the salt: a JSON array, bytes in base64, in the order of the fields."""
    return _encode(leaf)


def read(content: bytes) -> Leaf:
    """The part again."""
    return _decoder.decode(content)


def commitment(digest: bytes, salt: bytes, content: bytes) -> bytes:
    """The leaf's hash in the tree."""
    return merkle.leaf_hash(digest, hmac_sm3(salt, content))


def day_of(at: int) -> int:
    """The local day that an instant belongs to; midnight belongs to the day before."""
    return min(max((at - 1 + _SHANGHAI) // DAY, 0), LAST_DAY)


def days_between(since: int, until: int) -> tuple[int, int]:
    """First and last day of what lies in since < at <= until."""
    return day_of(since + 1), day_of(until)


class _Group:
    __slots__ = ("evidence", "series", "statuses")

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.statuses: list[Status] = []
        self.evidence: list[Evidence] = []


_Where = tuple[str, str, bytes, int]
"""Usage point, medium, meter, day."""


def parts_of(opened: Opened, places: Mapping[bytes, Sequence[Place]]) -> list[Part]:
    """The parts of an accepted record, at least one; `places` is where its meters were when it came."""
    groups: dict[_Where, _Group] = {}

    def group(device_id: bytes, at: int) -> _Group:
        place = _place(places.get(device_id, ()), at)
        where = ("", "") if place is None else (place.usage_point, place.medium)
        return groups.setdefault((*where, device_id, day_of(at)), _Group())

    for series in opened.series:
        if not series.registers:
            continue
        if not storable(series):
            groups.setdefault(("", "", series.device_id, day_of(opened.received_at)), _Group()).series.append(
                series
            )
            continue
        for piece in _pieces(series, places.get(series.device_id, ())):
            group(piece.device_id, piece.start_at).series.append(piece)
    for status in opened.statuses:
        group(status.device_id, status.at).statuses.append(status)
    for evidence in opened.evidence:
        group(evidence.device_id, _said_at(evidence, opened.received_at)).evidence.append(evidence)
    if not groups:
        group(opened.device_id, opened.received_at)
    return [
        Part(
            usage_point=usage_point,
            medium=medium,
            day=day,
            device_id=device_id,
            session_id=opened.session_id,
            counter=opened.counter,
            speaker=opened.device_id,
            module_id=opened.module_id,
            suite=opened.suite,
            origin=opened.origin,
            received_at=opened.received_at,
            series=tuple(found.series),
            statuses=tuple(found.statuses),
            evidence=tuple(found.evidence),
        )
        for (usage_point, medium, device_id, day), found in groups.items()
    ]


def added_of(version: Version) -> Added:
    """The leaf of what the platform added; it stands under the day of its last reading."""
    return Added(day_of(version.start_at + version.step * (len(version.registers) - 1)), version)


def delivered_of(columns: bytes) -> Delivered:
    """The leaf of packed columns; it stands under the day of its receipt."""
    return Delivered(day_of(received_at(columns)), columns)


def leaves_of(taken: Iterable[Opened], entry: Entry) -> list[tuple[bytes, Leaf]]:
    """(SM3(record), leaf) of everything that a journal entry brought, in order; `taken` are its records that were new."""
    places: dict[bytes, list[Place]] = {}
    for place in entry.places:
        places.setdefault(place.device_id, []).append(place)
    found: list[tuple[bytes, Leaf]] = [
        (opened.digest, part) for opened in taken for part in parts_of(opened, places)
    ]
    found += [(NO_RECORD, added_of(version)) for version in entry.versions]
    found += [(NO_RECORD, delivered_of(columns)) for columns in entry.columns]
    found += [(NO_RECORD, RolledUp(day_of(one.at), one)) for one in entry.rolled]
    return found


def _pieces(series: Series, places: Sequence[Place]) -> list[Series]:
    """The series cut where a day or an installation ends."""
    last_at = series.start_at + series.step * (len(series.registers) - 1)
    edges = [edge for place in places for edge in (place.since, place.until or EVER)]
    found = []
    rest = series
    while rest.registers:
        begin = rest.start_at
        midnight = (day_of(begin) + 1) * DAY - _SHANGHAI + 1
        until = min([midnight, *(edge for edge in edges if edge > begin)])
        if until > last_at or until <= begin:  # all of it, or nonsense beyond the last day
            found.append(rest)
            break
        _, piece, rest = split(rest, begin, until)
        found.append(piece)
    return found


def _place(places: Sequence[Place], at: int) -> Place | None:
    return next((place for place in places if place.since <= at < (place.until or EVER)), None)


def _said_at(evidence: Evidence, received_at: int) -> int:
    try:
        statement = unpack(evidence.statement)
    except PeerError:
        return received_at
    return statement.end_at if statement.end_at < LATEST else received_at


def instants(leaf: Leaf) -> tuple[int, int]:
    """First and last instant that a leaf speaks of."""
    if isinstance(leaf, Delivered):
        end_at = unpack_bulk(leaf.columns).end_at
        return int(end_at.min()), int(end_at.max())
    if isinstance(leaf, RolledUp):
        return leaf.rollup.until, leaf.rollup.until
    if isinstance(leaf, Added):
        spans = [(leaf.version.start_at, leaf.version.step, len(leaf.version.registers))]
    else:
        spans = [(one.start_at, one.step, len(one.registers)) for one in leaf.series]
        spans += [(status.at, 0, 1) for status in leaf.statuses]
        spans += [(_said_at(one, leaf.received_at), 0, 1) for one in leaf.evidence]
        spans = spans or [(leaf.received_at, 0, 1)]
    return min(start for start, _, _ in spans), max(start + step * (size - 1) for start, step, size in spans)
