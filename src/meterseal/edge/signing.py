"""Station edge, inside the module: settlement freezes signed over a chain of the load profile (LINK section
4, evidence).

It seals no record. One statement is signed per sequence and kept, with its chain, in the same write.
"""

from __future__ import annotations

from meterseal.edge.apdu import Command, Sw
from meterseal.edge.chip import Freeze
from meterseal.edge.chipmemory import Memory, evidence_page, pack
from meterseal.edge.image import ChannelState, KeptEvidence
from meterseal.edge.refusal import decode, need
from meterseal.link.evidence import EvidenceStatement, chain, signed_bytes

MOST_KEPT = 64
"""Statements kept per module while nothing acknowledges them."""


class Signing:
    """SIGN: extend a channel's chain and sign its head with a register."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def sign(self, command: Command) -> bytes:
        """The sequence of a new statement. Time of a channel only rises, and no reading lies beyond the
        freeze.
        """
        memory = self._memory
        freeze = decode(command.content, Freeze)
        need(0 < freeze.channel < 256 and -128 <= freeze.exponent < 128, Sw.WRONG_DATA)
        need(0 <= freeze.unit < 256 and 0 <= freeze.status < 65_536, Sw.WRONG_DATA)
        need(len(memory.kept) < MOST_KEPT, Sw.FULL)
        channel = memory.state.channels.get(freeze.channel, ChannelState())
        reached = channel.end_at
        need(freeze.end_at > reached and abs(freeze.register) < 1 << 63, Sw.CONDITIONS)
        for end_at, register in freeze.readings:
            need(reached < end_at <= freeze.end_at and abs(register) < 1 << 63, Sw.CONDITIONS)
            reached = end_at
        head = chain(channel.head, freeze.channel, freeze.readings)
        sequence = channel.sequence + 1
        statement = EvidenceStatement(
            device_id=memory.state.device_id,
            channel=freeze.channel,
            end_at=freeze.end_at,
            register=freeze.register,
            exponent=freeze.exponent,
            unit=freeze.unit,
            status=freeze.status,
            sequence=sequence,
            head=head,
        ).pack()
        kept = KeptEvidence(statement, self._signature(signed_bytes(statement)))
        # Not settled: that would be a disk's turn for each meter and day. After a power cut of the whole machine the
        # same stored readings give the same statement again under the same sequence.
        memory.save(
            {evidence_page(freeze.channel, sequence): pack(kept)},
            settled=False,
            channels={**memory.state.channels, freeze.channel: ChannelState(sequence, head, freeze.end_at)},
        )
        memory.kept[freeze.channel, sequence] = kept
        return sequence.to_bytes(4, "big")

    def _signature(self, message: bytes) -> bytes:
        """r || s under suite 1, HMAC-SM3 by K_evid under suite 2."""
        memory = self._memory
        if memory.state.suite == 1:
            assert memory.private is not None
            return memory.private.sign(message)
        keys = memory.bound(memory.state.key_version)
        need(keys is not None, Sw.CONDITIONS)
        assert keys is not None
        return keys.evidence.mac(message)
