"""The calling half of the desk of the keys doctor.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.security.client import Client
from meterseal.security.symptoms import Diagnosis, Symptom


class DiagnosisClient(Client):
    """The calls of this desk."""

    async def diagnose(self, symptom: Symptom) -> Diagnosis:
        """Which link of a meter's chain is wrong; LocalError `security.request`, `security.rate`."""
        return await self._rpc.call("diagnose", symptom, Diagnosis)
