"""`meterseal status` says first, and in a sentence a person can act on, what is wrong with the store of measurements."""

from __future__ import annotations

import json

import msgspec

from meterseal.app.alarming import Alarms
from meterseal.app.operator import Counts, as_json
from meterseal.cli.status import _status_lines
from meterseal.errors import EngineError
from meterseal.mdms.trouble import REFUSES, WAITS, Troubles


def lines(troubles: Troubles) -> list[str]:
    counts = Counts(
        meters=2, sessions=2, records=9, readings=24, evidence=2, evidence_good=2, repeats=0, quarantined=0, refused=0,
        bills=0, total_fen=0, audit_ok=True, troubles=troubles.said(),
    )  # fmt: skip
    sent = msgspec.msgpack.decode(
        msgspec.msgpack.encode(counts), type=Counts
    )  # as over the operator's socket
    found = json.loads(as_json(sent)) | json.loads(as_json(Alarms(alarms=[], words={}))) | {"keys": None}
    return _status_lines(found)


def test_a_store_that_takes_nothing_stands_first_with_what_to_do_and_goes_when_it_is_over() -> None:
    troubles = Troubles()
    quiet = lines(troubles)
    troubles.failed(REFUSES, EngineError("mdms.full", "The disk that holds it is full. Free some space."))
    troubles.failed(WAITS, EngineError("control.full", "The control store's disk is full. Free some."))
    said = lines(troubles)
    assert said[:2] == [
        "EVIDENCE AND COMPACTION WAIT: The control store's disk is full. Free some.",
        "READINGS ARE NOT ACCEPTED: The disk that holds it is full. Free some space.",
    ]
    assert said[2:] == quiet
    troubles.over(REFUSES)
    troubles.over(WAITS)
    assert lines(troubles) == quiet
