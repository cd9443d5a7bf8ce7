"""The roll-out: modules on an old key get KEY and then REKEY, those whose certificate ends soon get CERT.

It makes neither key nor certificate (the security service does) and sends nothing (the queue does). Run again it queues
only what is still lacking, so it may be stopped at any moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from meterseal.errors import EngineError, LocalError, MetersealError
from meterseal.headend.ports import Down
from meterseal.security.orders import KeyUpdate
from meterseal.things.fleet import Device
from meterseal.things.words import DownWords, Word

STANDS_FOR = 30 * 86_400_000
"""Milliseconds that such a word waits for its device; then it is made anew."""


class Service(Protocol):
    """What is asked of the security service; the SDK is one."""

    async def key_update(self, device_id: bytes) -> KeyUpdate: ...


class Rolled(Struct, frozen=True, kw_only=True):
    """What one run did and found: modules looked at, words queued, those that wait for their device or its next handshake,
    and modules that the service would make nothing for."""

    modules: int
    keys_queued: int
    keys_waiting: int
    certificates_queued: int
    certificates_waiting: int
    refused: int


class Rollout:
    """Keys and certificates for a whole fleet."""

    def __init__(
        self,
        words: DownWords,
        service: Service,
        devices: Callable[[], Sequence[Device]],
        clock: Callable[[], int],
    ) -> None:
        self._words = words
        self._service = service
        self._devices = devices
        self._clock = clock

    async def run(self) -> Rolled:
        """Queue what lacks. Raises EngineError when the security service is away; what was queued stays."""
        tally = dict.fromkeys(Rolled.__struct_fields__, 0)
        for device in self._devices():
            if device.plain:
                continue
            tally["modules"] += 1
            kinds = {word.down.kind for _, _, _, word in self._words.opened(device.device_id)}
            tally["certificates_waiting"] += "cert" in kinds
            if "key" in kinds:
                tally["keys_waiting"] += 1
                if "rekey" not in kinds:  # the handshake it asked for was under the old key
                    await self._put(device.device_id, Down(kind="rekey", content=b""))
                continue
            try:
                update = await self._service.key_update(device.device_id)
            except EngineError:
                raise
            except LocalError:
                continue  # it has the newest key
            except MetersealError:
                tally["refused"] += 1
                continue
            await self._put(device.device_id, Down(kind="key", content=update.content), update.module_id)
            await self._put(device.device_id, Down(kind="rekey", content=b""))
            tally["keys_queued"] += 1
        return Rolled(**tally)

    async def _put(self, device_id: bytes, down: Down, module_id: bytes = b"") -> None:
        word = Word(
            request_id=os.urandom(16),
            device_id=device_id,
            not_after=self._clock() + STANDS_FOR,
            down=down,
            module_id=module_id,
        )
        await self._words.put(word)
