"""The roll-out: modules on an old key get KEY and then REKEY, those whose certificate ends soon get CERT and then REKEY.

It makes neither key nor certificate (the security service does) and sends nothing (the queue does). Run again it queues
only what is still lacking, so it may be stopped at any moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

from meterseal.errors import EngineError, LocalError, MetersealError
from meterseal.headend.ports import Down
from meterseal.link import control
from meterseal.security.keyorders import KeysDueReply
from meterseal.security.orders import KeyUpdate
from meterseal.security.papers import DueReply, Renewal
from meterseal.things.words import DownWords, Word

STANDS_FOR = 30 * 86_400_000
"""Milliseconds that such a word waits for its device; then it is made anew."""


DUE_WITHIN = 60 * 86_400_000
"""A certificate that ends within so many ms is renewed: two months for a meter to be heard in."""
AT_ONCE = 1000


class Service(Protocol):
    """What is asked of the security service; the SDK is one."""

    async def keys_due(self, after: bytes = b"", limit: int = AT_ONCE) -> KeysDueReply: ...

    async def key_update(self, device_id: bytes) -> KeyUpdate: ...

    async def renewals_due(self, within_ms: int, limit: int = AT_ONCE) -> DueReply: ...

    async def renew(self, device_id: bytes) -> Renewal: ...


class Rolled(Struct, frozen=True, kw_only=True):
    """What one run did and found: words queued; modules whose word waits for them or for their next handshake; modules that
    the service makes nothing for. `keys_behind` is how many have not greeted under the newest key yet, queued or not."""

    keys_behind: int
    keys_queued: int
    keys_waiting: int
    certificates_queued: int
    certificates_waiting: int
    refused: int


class Rollout:
    """Keys and certificates for a whole fleet. Only what the service names is asked for: whom it has nothing for leaves no
    refusal in its audit log."""

    def __init__(self, words: DownWords, service: Service, clock: Callable[[], int]) -> None:
        self._words = words
        self._service = service
        self._clock = clock

    async def run(self) -> Rolled:
        """Queue what lacks. Raises EngineError when the security service is away; what was queued stays."""
        tally = dict.fromkeys(Rolled.__struct_fields__, 0)
        after = b""
        while True:
            due = await self._service.keys_due(after, AT_ONCE)
            for device_id in due.device_ids:
                await self._roll(device_id, "key", "keys", tally)
            tally["keys_behind"] = due.behind
            after = due.last
            if not after:
                break
        for device_id in (await self._service.renewals_due(DUE_WITHIN, AT_ONCE)).device_ids:
            await self._roll(device_id, "cert", "certificates", tally)
        return Rolled(**tally)

    async def _roll(
        self, device_id: bytes, kind: Literal["key", "cert"], name: str, tally: dict[str, int]
    ) -> None:
        kinds = {word.down.kind for _, _, _, word in self._words.opened(device_id)}
        if kind in kinds:
            tally[f"{name}_waiting"] += 1
            if "rekey" not in kinds:  # the handshake that it asked for showed the old one still
                await self._put(device_id, Down(kind="rekey", content=b""))
            return
        try:
            module_id, content = await (self._key if kind == "key" else self._certificate)(device_id)
        except EngineError:
            raise
        except LocalError:
            return  # it came to have the newest meanwhile, or never has one
        except MetersealError:
            tally["refused"] += 1
            return
        await self._put(device_id, Down(kind=kind, content=content), module_id)
        await self._put(device_id, Down(kind="rekey", content=b""))
        tally[f"{name}_queued"] += 1

    async def _key(self, device_id: bytes) -> tuple[bytes, bytes]:
        update = await self._service.key_update(device_id)
        return update.module_id, update.content

    async def _certificate(self, device_id: bytes) -> tuple[bytes, bytes]:
        renewal = await self._service.renew(device_id)
        return renewal.module_id, control.cert(renewal.chain).content

    async def _put(self, device_id: bytes, down: Down, module_id: bytes = b"") -> None:
        word = Word(
            request_id=os.urandom(16),
            device_id=device_id,
            not_after=self._clock() + STANDS_FOR,
            down=down,
            module_id=module_id,
        )
        await self._words.put(word)
