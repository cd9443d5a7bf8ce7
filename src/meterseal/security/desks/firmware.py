"""Desk of firmware: the signed manifest of an image that two officers released.

It keeps nothing; the platform's repository does.
"""

from __future__ import annotations

from meterseal.crypto.symmetric import sm3
from meterseal.security.authorise import PLATFORM
from meterseal.security.desk import Act, Acts, Desk, Room
from meterseal.security.firmware import Releasing
from meterseal.security.firmwareorders import Release, Released


class FirmwareDesk(Desk):
    """sign_firmware."""

    purpose = "commands"

    def __init__(self, room: Room) -> None:
        self._room = room
        self._releasing = Releasing(room.pki, room.officers, room.project_id)

    def acts(self) -> Acts:
        """What this desk answers."""
        return {"sign_firmware": Act(self._sign, Release, PLATFORM)}

    async def _sign(self, caller: str, request: Release) -> Released:
        room = self._room
        released = self._releasing.sign(request, room.clock())
        said = f"The manifest {sm3(released.manifest).hex()} of released firmware was signed."
        room.note(caller, request, "security.firmware-signed", said, officers=released.officers)
        await room.durable()
        return released
