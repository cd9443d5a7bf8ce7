"""The two whole runs of `vectors/link_runs.json`, and ports that play their fixed randomness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meterseal.crypto.certificates import Certificate
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import TrustError
from meterseal.link import identities, messages, schedule
from meterseal.link.handshake import DeviceRun, Enrolment, Identity, PlatformRun

RUNS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "link_runs.json").read_text(encoding="utf-8")
)["runs"]
AT = 1_800_000_000_000
"""A moment in the life of the vectors' certificates."""
SENT = 1_780_000_000_000
"""The platform time in their SESSION."""


class Run:
    """One run with its values as bytes."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.suite: int = raw["suite"]
        self.records: list[dict[str, Any]] = raw["records"]

    def __getattr__(self, name: str) -> bytes:
        return bytes.fromhex(self.raw[name])

    def chain(self, name: str) -> tuple[bytes, ...]:
        return tuple(bytes.fromhex(one) for one in self.raw.get(name, ()))

    def key(self, name: str) -> SymmetricKey:
        return SymmetricKey.from_bytes(getattr(self, name), name)

    def private(self, name: str) -> Sm2PrivateKey:
        return Sm2PrivateKey.from_scalar(getattr(self, name), name)

    @property
    def traffic(self) -> schedule.TrafficKeys:
        return schedule.TrafficKeys(*(bytes.fromhex(one) for one in self.raw["up"] + self.raw["down"]))

    @property
    def identity(self) -> Identity:
        return Identity(
            self.suite, self.device_id, self.module_id, self.raw["key_version"], self.chain("device_chain")
        )

    def signature(self, name: str) -> bytes:
        """The signature inside the recorded message: the runs were signed with fixed nonces."""
        if name == "platform":
            return messages.parse_platform(self.platform).signature
        from meterseal.link import proving

        keys = schedule.handshake_keys(self.hs, self.th1)
        opened = proving.open_part(keys.up, messages.parse_sealed(self.device, messages.DEVICE))
        return messages.parse_credential(opened, self.suite).signature


class PlayedDevice:
    """Ports of a module whose nonce, ephemeral key and signature are those of the run."""

    def __init__(self, run: Run, *, replay_signature: bool = True, longest: int | None = None) -> None:
        self.run = run
        self.replay = replay_signature
        self.longest = longest
        self.key = run.key("k_link")

    def random(self, size: int) -> bytes:
        assert size == 32
        return self.run.n_d

    def link_key(self) -> SymmetricKey:
        return self.key

    def ephemeral(self) -> Sm2PrivateKey:
        return self.run.private("e_d_private")

    def sign(self, message: bytes) -> bytes:
        return (
            self.run.signature("device") if self.replay else self.run.private("device_private").sign(message)
        )

    def check_platform(self, chain: Sequence[bytes], bound: int) -> Certificate:
        return identities.check_platform_chain(
            chain, root=self.run.root_cert, project_id=self.run.project_id, bound=bound, longest=self.longest
        )


class PlayedPlatform:
    """Ports of a security service whose draws and signature are those of the run."""

    def __init__(self, run: Run, *, replay_signature: bool = True) -> None:
        self.run = run
        self.replay = replay_signature
        self.draws = iter((run.n_p, run.session_id, run.seed))
        self.asked = 0

    def random(self, size: int) -> bytes:
        drawn = next(self.draws)
        assert len(drawn) == size
        return drawn

    def enrolled(self, device_id: bytes, module_id: bytes, key_version: int) -> Enrolment | None:
        self.asked += 1
        run = self.run
        if (device_id, module_id, key_version) != (run.device_id, run.module_id, run.raw["key_version"]):
            return None
        return Enrolment(run.suite, run.key("k_link"))

    def ephemeral(self) -> Sm2PrivateKey:
        return self.run.private("e_p_private")

    def chain(self) -> tuple[bytes, ...]:
        return self.run.chain("platform_chain")

    def sign(self, message: bytes) -> bytes:
        return (
            self.run.signature("platform")
            if self.replay
            else self.run.private("platform_private").sign(message)
        )

    def check_device(self, chain: Sequence[bytes], device_id: bytes, module_id: bytes) -> bytes:
        leaf = identities.check_device_chain(
            chain, root=self.run.root_cert, device_id=device_id, module_id=module_id, at=AT, crls=None
        )
        return leaf.point


def device_run(run: Run, bound: int = 0, **wishes: Any) -> DeviceRun:
    return DeviceRun(run.identity, PlayedDevice(run), bound=bound, **wishes)


def platform_run(run: Run, ports: PlayedPlatform | None = None) -> PlatformRun:
    records, seconds, _, policy = run.raw["grant"]
    return PlatformRun(
        ports or PlayedPlatform(run), records_allowed=records, seconds_allowed=seconds, policy=policy
    )


def refused(error: TrustError) -> str:
    return error.code


SUITES = [Run(raw) for raw in RUNS]
