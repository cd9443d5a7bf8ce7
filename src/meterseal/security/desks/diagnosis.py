"""Desk of the keys doctor: one question about one meter, answered to the operator alone, written down and limited.

It looks at nothing itself; `security.diagnosis` does.
"""

from __future__ import annotations

from meterseal.errors import LocalError
from meterseal.security.authorise import OPERATOR
from meterseal.security.chart import Chart
from meterseal.security.desk import Act, Acts, Desk, Room
from meterseal.security.diagnosis import Doctor
from meterseal.security.symptoms import Diagnosis, Refused, Symptom

BURST, PER_MINUTE = 30, 30
"""Questions that may come at once, and how many a minute gives back."""
_LOOKED_BACK = 1000
_MOST_REFUSALS = 10

LINK_OF = {
    "link.address": "address",
    "link.envelope": "address",
    "link.unknown-module": "module",
    "link.module-copied": "module",
    "link.withdrawn": "module",
    "link.key-version": "key version",
    "link.hello-mac": "key version",
    "link.fin": "key version",
    "link.tag": "key version",
    "link.chain": "certificate",
    "link.identity": "certificate",
    "link.signature": "certificate",
    "link.counter": "counter",
    "link.suite": "profile",
    "link.padding": "profile",
    "link.flags": "profile",
}
"""Which link a refusal's code speaks of, where only the refusal is left."""


class DiagnosisDesk(Desk):
    """diagnose."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._doctor = Doctor(room.keys, room.registry, room.pki, room.keylife, room.project_id)
        self._left, self._at = float(BURST), 0

    def acts(self) -> Acts:
        """What this desk answers."""
        return {"diagnose": Act(self._diagnose, Symptom, OPERATOR)}

    async def _diagnose(self, caller: str, request: Symptom) -> Diagnosis:
        room, now = self._room, self._room.clock()
        self._limit(now)
        refusals = self._refusals(request.meter)
        kept = room.refused.last(request.meter)
        if request.message:
            found = self._doctor.look(request, now)
        elif kept is not None:
            found = self._doctor.look(
                Symptom(meter=request.meter, message=kept.message, projects=request.projects), now
            )
        else:
            found = self._from_refusals(request.meter, refusals)
        wrong = ", ".join(found.wrong) or "nothing"
        room.note(
            caller,
            _About(request.meter),
            "security.diagnosed",
            f"A {found.kind} was looked at; wrong: {wrong}.",
        )
        await room.durable()
        return Diagnosis(
            meter=found.meter,
            kind=found.kind,
            findings=found.findings,
            conclusion=found.conclusion,
            refusals=refusals,
        )

    def _limit(self, now: int) -> None:
        self._left = min(BURST, self._left + max(0, now - self._at) * PER_MINUTE / 60_000)
        self._at = now
        if self._left < 1:
            raise LocalError(
                "security.rate",
                f"The keys doctor answers {PER_MINUTE} questions a minute; ask again shortly.",
            )
        self._left -= 1

    def _refusals(self, meter: bytes) -> tuple[Refused, ...]:
        seen = [one.entry for one in self._room.audit.newest(_LOOKED_BACK) if one.entry.refused]
        mine = [entry for entry in seen if entry.device_id == meter][-_MOST_REFUSALS:]
        return tuple(
            Refused(at=entry.at, code=entry.code, sentence=entry.sentence, source=entry.source)
            for entry in reversed(mine)
        )

    def _from_refusals(self, meter: bytes, refusals: tuple[Refused, ...]) -> Diagnosis:
        chart = Chart(meter)
        if not refusals:
            return chart.closed("refusals", "No refusal of this meter is remembered; show a message of it.")
        for one in refusals:
            link = LINK_OF.get(one.code)
            if link is not None:
                chart.wrong(link, one.sentence, "", one.code)
        return chart.diagnosis("refusals")


class _About:
    """What the audit entry is about."""

    def __init__(self, device_id: bytes) -> None:
        self.device_id = device_id
