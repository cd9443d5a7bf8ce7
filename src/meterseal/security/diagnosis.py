"""The keys doctor inside the service: which link of a meter's chain is wrong, from a refused message or a frame.

It changes nothing, gives out no key and answers the operator alone; the desk limits how often and writes each
question down.

Security argument: an answer says which of a bounded list of guesses a mac holds under. To whoever can ask it (the
account that runs the system) this is no news worth having: it names versions, ids and check values that the same
account reads in facts and usage, and no key, plaintext or session key. It is no oracle for the field: no device
and no head-end reaches it, and what a device hears of a refusal stays silence.
"""

from __future__ import annotations

from meterseal.errors import LocalError, MetersealError
from meterseal.link import messages, records
from meterseal.model import medium_of
from meterseal.security.chart import Chart
from meterseal.security.diagnosis_hello import HelloDoctor
from meterseal.security.diagnosis_record import RecordDoctor
from meterseal.security.examining import Examiner
from meterseal.security.keylife import KeyLife
from meterseal.security.pki import Pki
from meterseal.security.registry import Registry
from meterseal.security.symptoms import Diagnosis, Symptom, unwrapped
from meterseal.security.vault import Vault
from meterseal.wire.codec import search

_MOST_BYTES = 8192
_MOST_SESSIONS = 64
_MOST_PROJECTS = 8


class Doctor:
    """Looks at what was refused."""

    def __init__(
        self, keys: Vault, registry: Registry, pki: Pki, keylife: KeyLife, project_id: bytes
    ) -> None:
        self._with = Examiner(keys, registry, pki, keylife, project_id)
        self._hello, self._records = HelloDoctor(self._with), RecordDoctor(self._with)

    def look(self, symptom: Symptom, now: int) -> Diagnosis:
        """The diagnosis of one message or frame; LocalError `security.request` for a symptom out of bounds."""
        if (
            len(symptom.meter) != messages.ID
            or not 0 < len(symptom.message) <= _MOST_BYTES
            or len(symptom.sessions) > _MOST_SESSIONS
            or len(symptom.projects) > _MOST_PROJECTS
            or any(len(project) != 16 for project in symptom.projects)
        ):
            raise LocalError(
                "security.request",
                f"A meter has 8 bytes, a message 1 to {_MOST_BYTES}, and at most {_MOST_PROJECTS} other projects of 16 "
                "bytes are tried.",
            )
        chart = Chart(symptom.meter)
        message, envelope = unwrapped(symptom.message)
        if envelope:
            chart.envelope(envelope)
        try:
            if message[:3] == messages.MAGIC:
                return self._hello.look(message, symptom, chart, now)
            if message[:3] == records.MAGIC:
                return self._records.look(message, symptom, chart, now)
        except MetersealError as error:
            return chart.unreadable(error.message)
        return self._frame(message, symptom, chart)

    def _frame(self, message: bytes, symptom: Symptom, chart: Chart) -> Diagnosis:
        found = search(message)
        frame = found.frame
        if frame is None:
            fault = found.trial.fault or "wire.no-frame"
            return chart.unreadable(f"No whole frame was found ({fault}); read the meter again.")
        chart.address(frame.device_id, self._with.known(frame.device_id), of="frame")
        protocol = "dlt645" if medium_of(symptom.meter) == "electricity" else "cjt188"
        if frame.protocol != protocol:
            chart.wrong(
                "profile", "The meter speaks another protocol than its id says.", protocol, frame.protocol
            )
        else:
            chart.good("profile", f"A whole frame of {protocol}, checksum right.")
        module = self._with.registry.of_device(symptom.meter)
        if module is None:
            chart.unchecked("module", "The meter has no module in service.")
        else:
            chart.unchecked(
                "module", f"A frame in clear shows no module; enrolled is {module.module_id.hex()}."
            )
        chart.rest("A frame in clear carries no key.")
        return chart.diagnosis("frame")
