"""Beside the path: device certificates and whole enrolments, beside the bare SM2 operations that they need.

The modules' keys are made before the clock runs, as a module makes its own.
"""

from __future__ import annotations

from contextlib import ExitStack

from meterseal.crypto.certificates import parse
from meterseal.crypto.issuing import issue_ca, issue_leaf, issue_root
from meterseal.crypto.names import uri
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import EngineError
from meterseal.kit.bench import raw
from meterseal.kit.bench.modules import DAY, NOW, BenchModule, BenchService
from meterseal.kit.bench.timing import Case, Limit, Watch

GOAL = 1500.0
BATCH = 100


class Issuing:
    """A device CA of its own and the leaves that it issues."""

    def __init__(self) -> None:
        root_key, self._key = Sm2PrivateKey.generate("root"), Sm2PrivateKey.generate("device CA")
        until = NOW + 365 * DAY
        self.root = issue_root(root_key, name="bench root", since=NOW - DAY, until=until)
        self.ca = issue_ca(
            self.root,
            root_key,
            point=self._key.public_point,
            name="bench device CA",
            purpose="device",
            since=NOW - DAY,
            until=until,
        )
        self.modules = [BenchModule(number, 1) for number in range(BATCH)]
        self.leaves: list[bytes] = []
        """What the last slice issued."""

    def work(self, watch: Watch) -> int:
        """One slice: a leaf for each module; EngineError `bench.issue` for one with another point than it was for."""
        with watch:
            self.leaves = [self._leaf(module) for module in self.modules]
        if any(parse(leaf).point != one.point for leaf, one in zip(self.leaves, self.modules, strict=True)):
            raise EngineError("bench.issue", "A certificate bears another point than asked; report this.")
        return BATCH

    def _leaf(self, module: BenchModule) -> bytes:
        return issue_leaf(
            self.ca,
            self._key,
            point=module.point,
            name=f"module {module.module_id.hex()}",
            purpose="device",
            uris=(uri("device", module.device_id), uri("module", module.module_id)),
            since=NOW,
            until=NOW + 300 * DAY,
        )


class Enrolling:
    """Batches of enrolments at a security service: certificate, keys, envelope, registry, audit, commit."""

    def __init__(self, service: BenchService) -> None:
        self._service = service
        self.enrolled = 0

    def work(self, watch: Watch) -> int:
        """One slice: a batch; every module must open its envelope."""
        service = self._service
        modules = service.made(BATCH, 1)
        requests = [module.request() for module in modules]
        with watch:
            given = service.wait(service.platform.personalise_batch(requests))
        for module, one in zip(modules, given, strict=True):
            module.take(one)
        self.enrolled += len(given)
        return len(given)


def cases(stack: ExitStack, seconds: float) -> list[Case]:
    """The rows."""
    raw.able()
    sign = raw.sign()
    return [
        Case(
            name="device certificates issued",
            unit="certificates per CPU second",
            work=Issuing().work,
            limit=Limit("SM2 sign", ((1, sign),)),
            goal=GOAL,
        ),
        Case(
            name="modules enrolled at the service, by the hundred",
            unit="modules per CPU second",
            work=Enrolling(BenchService(stack)).work,
            limit=Limit("SM2 sign + encrypt", ((1, sign), (1, raw.encrypt()))),
        ),
    ]
