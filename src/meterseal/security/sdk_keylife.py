"""The calling half of the desk of the life of keys.

It holds no key and no decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.mesh.rpc import Empty
from meterseal.security import keyorders as k
from meterseal.security.client import Client


class KeyLifeClient(Client):
    """The calls of this desk."""

    async def rotate(self, kind: str, present: bytes = b"", coming: bytes = b"") -> k.Rotated:
        """A new version of one kind; LocalError `security.kind`, `security.still-moving`."""
        return await self._rpc.call("rotate", k.Rotate(kind=kind, present=present, coming=coming), k.Rotated)

    async def moving(self) -> tuple[k.Moving, ...]:
        """Per kind, how many items still stand on an old version."""
        return (await self._rpc.call("moving", Empty(), k.MovingReply)).items

    async def keys_due(self, after: bytes = b"", limit: int = 1000) -> k.KeysDueReply:
        """Devices whose module has not greeted under the newest DIAK yet, in order of module ids above `after`."""
        return await self._rpc.call("keys_due", k.KeysDueRequest(after=after, limit=limit), k.KeysDueReply)

    async def rewrap_data_keys(self, items: Sequence[tuple[str, str, bytes]]) -> tuple[bytes, ...]:
        """Data keys (purpose, name, wrapped) under the newest wrapping key, in order; at most 1000."""
        return await self._rewrap([("data-keys", purpose, name, wrapped) for purpose, name, wrapped in items])

    async def rewrap_sessions(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> tuple[bytes, ...]:
        """Sessions (session id, device id, wrapped) under the newest wrapping key, in order; at most 1000."""
        return await self._rewrap(
            [("session-wraps", device.hex(), session.hex(), wrapped) for session, device, wrapped in items]
        )

    async def _rewrap(self, items: Sequence[tuple[str, str, str, bytes]]) -> tuple[bytes, ...]:
        asked = tuple(
            k.Wrapped(kind=kind, purpose=purpose, name=name, wrapped=wrapped)
            for kind, purpose, name, wrapped in items
        )
        return (await self._rpc.call("rewrap", k.Rewrap(items=asked), k.Rewrapped)).wrapped

    async def report_wraps(
        self,
        sessions: dict[int, int],
        data_keys: dict[int, int],
        *,
        sessions_from: int = 0,
        data_keys_from: int = 0,
    ) -> None:
        """Tell the service how many wrapped keys stand on each version, counted after the store took none any more
        below the two versions named; a version below them without a key may end.
        """
        counts = [
            k.WrapCount(kind=kind, version=version, count=count)
            for kind, found in (("session-wraps", sessions), ("data-keys", data_keys))
            for version, count in found.items()
        ]
        report = k.WrapReport(
            counts=tuple(counts), sessions_from=sessions_from, data_keys_from=data_keys_from
        )
        await self._rpc.call("report_wraps", report, Empty)

    async def transport_key(self) -> k.TransportPoint:
        """The SM2 point for envelopes to this service."""
        return await self._rpc.call("transport_key", Empty(), k.TransportPoint)
