"""The calling half of the desk of firmware.

It holds no key and no decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.security.client import Client
from meterseal.security.firmwareorders import Release, Released
from meterseal.security.orders import OfficerSignature


class FirmwareClient(Client):
    """The calls of this desk."""

    async def sign_firmware(
        self, targets: bytes, signatures: Sequence[OfficerSignature], name: str
    ) -> Released:
        """The signed manifest of an image in a list that two officers signed; the same again is the same statement.

        TrustError `security.officer`, `.signature`, `.role`, `.two-persons`, `.project`, `.expired`; LocalError
        `security.request`, `security.firmware`.
        """
        asked = Release(targets=targets, signatures=tuple(signatures), name=name)
        return await self._rpc.call("sign_firmware", asked, Released)
