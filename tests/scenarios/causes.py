"""Why messages of a handshake were refused: by chance of when they came, or for another reason."""

from __future__ import annotations

from meterseal.headend.handshakes import Handshakes
from meterseal.headend.link import Link
from meterseal.headend.pipeline import Arrival
from meterseal.link import messages
from meterseal.model import Refusal
from tests.scenarios.small_system import System


class Causes:
    """Every refusal of a handshake message, judged at the moment at which it was made."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.late: list[Refusal] = []
        self.others: list[Refusal] = []
        for uplink in system.centre.uplinks:
            self._watch(uplink._handshakes)

    def _watch(self, handshakes: Handshakes) -> None:
        take = handshakes.take

        async def watched(link: Link, arrival: Arrival) -> list[Refusal]:
            refused = await take(link, arrival)
            for one in refused:
                (self.late if self._is_late(arrival, one) else self.others).append(one)
            return refused

        handshakes.take = watched  # type: ignore[method-assign]

    def _is_late(self, arrival: Arrival, refusal: Refusal) -> bool:
        """A HELLO under a key version that its own module has left for a newer one, and no other refusal."""
        if refusal.code != "link.key-version" or messages.kind_of(arrival.message) != messages.HELLO:
            return False
        hello = messages.parse_hello(arrival.message)
        module = self._system.chip_state(hello.device_id)
        said = f"uses key version {hello.key_version}, enrolled is version "
        enrolled = int(refusal.sentence.partition(said)[2].rstrip(".") or 0)
        return hello.module_id == module.module_id and hello.key_version < enrolled <= module.key_version
