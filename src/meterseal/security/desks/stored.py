"""Desk of stored data: data keys, made and opened for the platform, kept by nobody here.

It never learns what they seal.
"""

from __future__ import annotations

from meterseal.security import datakeys
from meterseal.security import messages as m
from meterseal.security.authorise import PLATFORM
from meterseal.security.desk import Act, Acts, Desk, Room


class StoredDesk(Desk):
    """data_key, unwrap_data_key."""

    purpose = "storage"

    def __init__(self, room: Room) -> None:
        self._room = room

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "data_key": Act(self._data_key, m.DataKeyRequest, PLATFORM),
            "unwrap_data_key": Act(self._unwrap_data_key, m.UnwrapDataKeyRequest, PLATFORM),
        }

    async def _data_key(self, caller: str, request: m.DataKeyRequest) -> m.DataKey:
        made = datakeys.new_data_key(self._room.keys, request.purpose, request.key_id)
        await self._room.durable()
        return made

    async def _unwrap_data_key(self, caller: str, request: m.UnwrapDataKeyRequest) -> m.DataKey:
        opened = datakeys.open_data_key(self._room.keys, request.purpose, request.key_id, request.wrapped)
        await self._room.durable()
        return opened
