"""Desk of the modules: enrolment, facts, withdrawal, and the evidence of modules that only have SM4.

It issues nothing itself; `security.personalise` does.
"""

from __future__ import annotations

import msgspec

from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.rpc import Empty
from meterseal.security import messages as m
from meterseal.security.authorise import FACTS, ISSUE, OPERATOR, PARTNER, PLATFORM
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done
from meterseal.security.papers import WithdrawModules
from meterseal.security.personalise import Personaliser

_MOST_STATEMENTS = 1000
_MOST_WITHDRAWN = 5000
_LONGEST = 200


class ModuleDesk(Desk):
    """personalise, personalise_batch, lab_issue, withdraw, device_facts, check_evidence; and the order
    `withdraw-modules`.
    """

    purpose = "modules"

    def __init__(self, room: Room) -> None:
        self._room = room
        self._personaliser = Personaliser(
            room.keys, room.tree, room.pki, room.registry, room.reserved, room.project_id, lab=room.lab
        )

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "personalise": Act(self._personalise, m.PersonaliseRequest, ISSUE),
            "personalise_batch": Act(self._personalise_batch, m.PersonaliseBatch, ISSUE),
            "lab_issue": Act(self._lab_issue, m.LabRequest, ISSUE),
            "withdraw": Act(self._withdraw, m.WithdrawRequest, ISSUE),
            "device_facts": Act(self._device_facts, m.FactsRequest, FACTS | OPERATOR | PARTNER),
            "check_evidence": Act(self._check_evidence, m.EvidenceBatch, PLATFORM | PARTNER),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {"withdraw-modules": Order(self._withdraw_many, WithdrawModules, "enrol")}

    async def _personalise(self, caller: str, request: m.PersonaliseRequest) -> m.Personalisation:
        batch = await self._personalise_batch(caller, m.PersonaliseBatch(requests=(request,)))
        return batch.answers[0]

    async def _personalise_batch(self, caller: str, request: m.PersonaliseBatch) -> m.PersonaliseBatchReply:
        room = self._room
        answers = await self._personaliser.personalise(request.requests, room.clock())
        for answer in answers:
            key = f"DIAK version {answer.key_version}"
            room.note(caller, answer, "security.personalised", "A module was enrolled.", key=key)
        await room.durable()
        return m.PersonaliseBatchReply(answers=tuple(answers))

    async def _lab_issue(self, caller: str, request: m.LabRequest) -> m.LabCredentials:
        room = self._room
        credentials = self._personaliser.lab_issue(request, room.clock())
        key = f"DIAK version {credentials.key_version}"
        room.note(
            caller, request, "security.lab-issued", "A lab device's keys were handed out in clear.", key=key
        )
        await room.durable()
        return credentials

    async def _withdraw(self, caller: str, request: m.WithdrawRequest) -> Empty:
        room = self._room
        room.take_out([self._personaliser.in_service(request.device_id, request.module_id)])
        room.note(caller, request, "security.withdrawn", "A module was taken out of service.")
        await room.durable()
        return Empty()

    async def _withdraw_many(self, caller: str, order: WithdrawModules, people: tuple[str, ...]) -> Done:
        room = self._room
        once = set(order.module_ids)
        if (
            not 0 < len(once) == len(order.module_ids) <= _MOST_WITHDRAWN
            or any(len(one) != 8 for one in once)
            or not 0 < len(order.reason) <= _LONGEST
        ):
            raise LocalError(
                "security.request",
                f"An order withdraws 1 to {_MOST_WITHDRAWN} modules, each named once by 8 bytes, for a reason of at most "
                f"{_LONGEST} characters; nothing was withdrawn.",
            )
        found = [room.registry.module(one) for one in order.module_ids]
        unknown = [one.hex() for one, known in zip(order.module_ids, found, strict=True) if known is None]
        gone = room.take_out([one for one in found if one is not None])
        said = f"A module was taken out of service: {order.reason}"
        await room.note_each(caller, gone, "security.withdrawn", said, officers=people)
        before = len(found) - len(gone) - len(unknown)
        sentence = f"{len(gone)} modules were taken out of service, {before} were already: {order.reason}."
        if unknown:
            sentence += f" {len(unknown)} are none of this system's, the first {unknown[0]}."
        facts = {"withdrawn": len(gone), "before": before, "unknown": unknown}
        return Done(sentence=sentence, officers=people, facts=msgspec.json.encode(facts).decode())

    async def _device_facts(self, caller: str, request: m.FactsRequest) -> m.DeviceFacts:
        return self._personaliser.facts(request.device_id, request.module_id)

    async def _check_evidence(self, caller: str, request: m.EvidenceBatch) -> m.EvidenceAnswer:
        if len(request.requests) > _MOST_STATEMENTS:
            raise LocalError(
                "security.request", f"At most {_MOST_STATEMENTS} statements are checked at once."
            )
        good = tuple(self._evidence_holds(one) for one in request.requests)
        await self._room.durable()
        return m.EvidenceAnswer(good=good)

    def _evidence_holds(self, one: m.EvidenceRequest) -> bool:
        room = self._room
        module = room.registry.module(one.module_id)
        if module is None or module.device_id != one.device_id or module.suite != 2:
            return False
        try:
            key = room.tree.purpose(one.device_id, one.module_id, one.key_version, "EVID0001")
        except TrustError:
            return False  # a key version that never was, or is withdrawn, proves nothing
        room.keys.use("DIAK", one.key_version)
        return equal(key.mac(b"ms1 evidence\x00", one.statement), one.mac)
