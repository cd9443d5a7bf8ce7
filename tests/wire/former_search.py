"""The search as it was before it was made linear: the oracle of test_search, slow and plain.

It weighs every 68 by building the fault itself; only `lengthened` and `try_frame` are shared with the code under test.
"""

from __future__ import annotations

from meterseal.wire.cjt188.names import FUNCTIONS, MEDIA
from meterseal.wire.codec import NOTHING, Found, lengthened, preamble_before
from meterseal.wire.dlt645 import is_function
from meterseal.wire.frame import START, Trial, trials_at


def former_search(buf: bytes, offset: int = 0) -> Found:
    best, score, shadow = NOTHING, 25, 0
    start = buf.find(START, offset)
    while start >= 0:
        for trial in trials_at(buf, start):
            if trial.frame is not None and trial.end is not None:
                if trial.end < shadow:
                    break
                return Found(trial, preamble_before(buf, start), trial.end)
            told = lengthened(buf, trial)
            weight = former_weight(buf, told, offset)
            if weight > score:
                best, score = told, weight
                if told.fault == "wire.checksum" and weight >= 75:
                    shadow = told.end or 0
        start = buf.find(START, start + 1)
    return Found(best, preamble_before(buf, best.start), best.end or len(buf))


def former_weight(buf: bytes, trial: Trial, offset: int) -> int:
    if trial.fault == "wire.checksum":
        weight = 60
    elif trial.fault == "wire.length":
        weight = 58 if trial.end is not None and buf[trial.end - 2] == trial.right_checksum else 30
    elif trial.fault == "wire.end":
        weight = 55 if trial.end is not None and buf[trial.end - 2] == trial.right_checksum else 20
    elif trial.fault == "wire.truncated":
        weight = 25
    else:
        return 0
    start = trial.start
    if start == offset or preamble_before(buf, start):
        weight += 6
    if trial.protocol == "dlt645":
        known = len(buf) > start + 8 and is_function(buf[start + 8])
        return weight + (20 if len(buf) > start + 7 else 0) + (8 if known else 0)
    if len(buf) > start + 1 and (buf[start + 1] >> 4 in MEDIA or buf[start + 1] == 0xAA):
        weight += 8
    if len(buf) > start + 9 and buf[start + 9] & 0x3F in FUNCTIONS:
        weight += 8
    return weight
