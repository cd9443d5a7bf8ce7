"""Station edge, what the maintenance port may ask of a running concentrator, and the answers as plain objects.

It listens nowhere (`maintenance` does) and commands nothing: what it has read is what any bus master may read.
"""

from __future__ import annotations

import asyncio
from typing import Any

from meterseal.edge.gateway import Gateway
from meterseal.edge.line import Line
from meterseal.edge.poll import Riser
from meterseal.edge.reading import identifiers, read_whole
from meterseal.errors import LocalError
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret

MOST_DAYS = 400
PATIENCE = 20
"""Seconds that a read may take; longer than any meter model waits and repeats."""


class Inquiry:
    """Answers questions about one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ask(self, question: dict[str, Any]) -> object:
        """The answer. LocalError `concentrator.ask` for a question that nobody answers here, `concentrator.unknown` for a
        meter or bus that is not there, `concentrator.sealed`, `concentrator.silent`, `concentrator.backfill`.
        """
        match question:
            case {"ask": "status", **rest} if not rest:
                return self._gateway.status()
            case {"ask": "meters", **rest} if not rest:
                return self._meters()
            case {"ask": "search", "bus": int(number), **rest} if not rest:
                return self._search(number)
            case {"ask": "read", "device_id": str(text), **rest} if not rest:
                return await self._read(text)
            case {"ask": "read", "device_id": str(text), "what": str(what), **rest} if not rest:
                return await self._read_more(text, what)
            case {"ask": "backfill", "device_id": str(text), "days": int(days), **rest} if not rest:
                return self._backfill(text, days)
        raise LocalError(
            "concentrator.ask",
            "Ask for status, meters, search (with bus), read (with device_id, perhaps what) or backfill (with device_id "
            "and days).",
        )

    def _meters(self) -> list[dict[str, object]]:
        concentrator = self._gateway.concentrator
        rows: list[dict[str, object]] = []
        for number, riser in enumerate(concentrator.risers):
            for line in riser.lines.values():
                rows.append(
                    {
                        "device_id": line.device_id.hex(),
                        "bus": number,
                        "plain": line.plain,
                        "model": line.profile.name,
                        "heard_at": line.heard_at,
                        "silent": line.failures,
                        "waiting": len(line.down),
                    }
                )
            rows += [
                {"device_id": unknown.hex(), "bus": number, "unknown": True}
                for unknown in concentrator.hunt.state(number).unknown
            ]
        return rows

    def _search(self, number: int) -> dict[str, object]:
        if not 0 <= number < len(self._gateway.concentrator.risers):
            raise LocalError("concentrator.unknown", f"There is no bus {number}; they count from 0.")
        self._gateway.concentrator.hunt.begin(number)
        return {"searching": number}

    def _backfill(self, text: str, days: int) -> dict[str, object]:
        line, _ = self._gateway.concentrator.find(text)
        if not 1 <= days <= MOST_DAYS or not self._gateway.concentrator.backfill.expected:
            raise LocalError(
                "concentrator.backfill",
                f"From 1 to {MOST_DAYS} days are read back, and none where the schedule has backfill_days = 0.",
            )
        self._gateway.read_back(line.device_id, days)
        return {"device_id": text, "days": days}

    async def _read(self, text: str) -> dict[str, object]:
        line, riser = self._gateway.concentrator.find(text)
        frame = await self._whole(riser, line, line.register)
        if frame is None:
            raise LocalError("concentrator.silent", f"Meter {text} does not answer, or has no such reading.")
        return _said(line, frame)

    async def _read_more(self, text: str, what: str) -> dict[str, object]:
        """What was answered, and the identifiers that were not, in the order in which they were asked."""
        line, riser = self._gateway.concentrator.find(text)
        answers: list[dict[str, object]] = []
        refused: list[str] = []
        width = 8 if line.protocol == "dlt645" and not line.is_1997 else 4
        for di in identifiers(line, what):
            frame = await self._whole(riser, line, di)
            if frame is None and line.failures:
                break  # it keeps silent, and would of the rest
            if frame is None:
                refused.append(f"{di:0{width}X}")
            else:
                answers.append({"di": f"{di:0{width}X}", **_said(line, frame)})
        if not answers:
            raise LocalError("concentrator.silent", f"Meter {text} does not answer, or has nothing of that.")
        return {"device_id": text, "answers": answers, "refused": refused}

    async def _whole(self, riser: Riser, line: Line, di: int) -> Frame | None:
        answer: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()

        def done(frame: Frame | None) -> None:
            if not answer.done():
                answer.set_result(frame)

        read_whole(riser, line, di, done)
        self._gateway.wake(riser)
        try:
            return await asyncio.wait_for(answer, PATIENCE)
        except TimeoutError:
            return None


def _said(line: Line, frame: Frame) -> dict[str, object]:
    meaning = interpret(frame)
    return {
        "device_id": line.device_id.hex(),
        "frame": frame.encode().hex(),
        "readings": {
            name: {
                "register": value.register,
                "exponent": value.exponent,
                "unit": value.unit,
                "text": value.text,
            }
            for name, value in meaning.readings.items()
        },
        "clock_at": meaning.clock_at,
    }
