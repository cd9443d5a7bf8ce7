"""Each check of the records, switched off from outside, one at a time; nothing of this is in shipped code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from msgspec import structs

from meterseal.edge import sealing
from meterseal.headend import pipeline
from meterseal.headend.ports import Enrolment
from meterseal.link import records
from meterseal.link.counters import CounterSet
from meterseal.link.records import Header
from meterseal.wire import frame as wire

Patch = Callable[[pytest.MonkeyPatch], None]


class SealedSwitch(NamedTuple):
    """A check: its name on the list of LINK section 6, what is taken away, and the invariant that falls."""

    check: str
    what: str
    falls: str
    off: Patch


def no_counter_at_the_service(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CounterSet, "__contains__", lambda *_: False)


def no_counter_at_the_module(patch: pytest.MonkeyPatch) -> None:
    """The module remembers no down counter, so that each is above the last."""
    honest = structs.replace

    def forgetful(struct: Any, **changes: Any) -> Any:
        changes.pop("down_last", None)
        return honest(struct, **changes)

    patch.setattr(sealing, "replace", forgetful)


def no_direction_at_the_service(patch: pytest.MonkeyPatch) -> None:
    def either(arrival: pipeline.Arrival) -> Header:
        return records.parse_header(arrival.message)

    honest = pipeline.read_header

    def lenient(arrival: pipeline.Arrival) -> Header | pipeline.Refused:
        found = honest(arrival)
        refused = isinstance(found, pipeline.Refused) and found.refusal.code == "link.direction"
        return either(arrival) if refused else found

    patch.setattr(pipeline, "read_header", lenient)


def no_direction_at_the_module(patch: pytest.MonkeyPatch) -> None:
    honest = records.parse_header
    patch.setattr(records, "parse_header", lambda record, *, up=None: honest(record))


def no_checksum(patch: pytest.MonkeyPatch) -> None:
    """A frame is read as if its CS were right."""
    honest = wire.try_frame

    def lenient(buf: bytes, start: int, protocol: wire.Protocol) -> wire.Trial:
        trial = honest(buf, start, protocol)
        if trial.fault != "wire.checksum" or trial.end is None or trial.right_checksum is None:
            return trial
        mended = buf[: trial.end - 2] + bytes((trial.right_checksum,)) + buf[trial.end - 1 :]
        return honest(mended, start, protocol)

    patch.setattr(wire, "try_frame", lenient)


def no_vouching(patch: pytest.MonkeyPatch) -> None:
    """Any concentrator may vouch for any meter."""
    honest = pipeline.open_and_say

    def lenient(
        arrival: Any, proved: Any, session: Any, keys: Any, _: Mapping[bytes, Enrolment]
    ) -> pipeline.Verdict:
        anyones = {
            device: Enrolment(device_id=device, plain=True, medium="water", concentrator_id=session.device_id)
            for device in pipeline.named_devices(proved)
        }
        return honest(arrival, proved, session, keys, anyones)

    patch.setattr(pipeline, "open_and_say", lenient)


def no_tag(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(records, "check_tag", lambda *_: True)


def no_address(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(records, "check_addresses", lambda *_: None)


SEALED_SWITCHES = (
    SealedSwitch("counter", "the service forgets what it consumed", "once", no_counter_at_the_service),
    SealedSwitch("counter", "the module forgets the last counter", "once", no_counter_at_the_module),
    SealedSwitch(
        "direction", "the service takes records that run down", "said up", no_direction_at_the_service
    ),
    SealedSwitch(
        "direction", "the module takes records that run up", "said down", no_direction_at_the_module
    ),
    SealedSwitch("checksum", "frames pass with a wrong CS", "origin", no_checksum),
    SealedSwitch("vouching", "any concentrator vouches for any meter", "origin", no_vouching),
    SealedSwitch("record tag", "records pass with any tag", "said up", no_tag),
    SealedSwitch("address", "a session carries any meter's frames", "origin", no_address),
)
