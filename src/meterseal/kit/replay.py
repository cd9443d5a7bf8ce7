"""Beside the path: captured answers of plain meters, served again on a bus, for a concentrator that vouches
for them.

It makes up nothing: what was captured is answered as it was, each meter's answers in turn and then the last
one again.
"""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import Struct

from meterseal.errors import LocalError
from meterseal.model import Medium, medium_of
from meterseal.wire.frame import Frame, Protocol
from meterseal.wire.text import search_text


class Captured(Struct, frozen=True):
    """One plain meter of a capture, to be enrolled as plain: its answers in the order they were captured."""

    device_id: bytes
    medium: Medium
    protocol: Protocol
    answers: tuple[bytes, ...]


def load_captured(path: Path) -> list[Captured]:
    """The plain meters whose answers a file holds, in order of appearance.

    One answer a line, as hex with anything around it, or as a JSON object with the key `hex`. Requests,
    error answers, damaged frames and frames of unknown media are left out. LocalError `kit.captured` when
    nothing is left.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise LocalError("kit.captured", f"{path} cannot be read ({error.strerror}).") from None
    found: dict[bytes, list[bytes]] = {}
    for line in lines:
        frame = _answer(line)
        if frame is not None:
            answers = found.setdefault(frame.device_id, [])
            if frame.encode() not in answers:
                answers.append(frame.encode())
    if not found:
        raise LocalError(
            "kit.captured", f"{path} holds no readable answer of a meter; give hex, one frame a line."
        )
    return [
        Captured(device, medium, "dlt645" if medium == "electricity" else "cjt188", tuple(answers))
        for device, answers in found.items()
        if (medium := medium_of(device)) is not None
    ]


def _answer(line: str) -> Frame | None:
    text = line.strip()
    if text.startswith("{"):
        try:
            text = str(json.loads(text).get("hex", ""))
        except ValueError:
            return None
    if not text or text.startswith("#"):
        return None
    frame = search_text(text)[1].frame
    if frame is None or frame.control & 0xC0 != 0x80 or not frame.data:
        return None
    return frame if medium_of(frame.device_id) and b"\xaa" * 6 not in frame.address else None


class CapturedBus:
    """The captured meters on one bus; any read request gets the meter's next answer."""

    def __init__(self, meters: list[Captured]) -> None:
        self._meters = {one.device_id: one for one in meters}
        self._asked_otherwise = {one.device_id[1:]: one for one in meters}
        """By the number alone: some models answer as another type than they are asked as."""
        self._turn = dict.fromkeys(self._meters, 0)

    @property
    def served(self) -> int:
        """How many different captured answers were given so far."""
        return sum(min(turn, len(self._meters[device].answers)) for device, turn in self._turn.items())

    def answer(self, request: Frame, now: int) -> bytes:
        """See `kit.bus.Answering`."""
        meter = self._meters.get(request.device_id) or self._asked_otherwise.get(request.device_id[1:])
        if meter is None or request.control & 0x80:
            return b""
        turn = min(self._turn[meter.device_id], len(meter.answers) - 1)
        self._turn[meter.device_id] = turn + 1
        return meter.answers[turn]
