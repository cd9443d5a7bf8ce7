"""Station edge, the security module 安全模块: an emulated chip behind APDUs (HM 8.5.4; LINK sections 2 to 4).

It is no chip: what its memory file and the storage key beside it hold, whoever copies both has copied. It
shows no side-channel resistance either. What it does show is the behaviour: a controller that sends it
commands never gets a key, and no sequence of commands, cut by power at any moment, makes it use a counter
twice, sign two statements under one sequence, act on a command twice or on one that the security service
did not authorise.

Security argument. Keys enter by personalisation alone, in an envelope to a point whose private half was
made here; no instruction reads one. Every state is written before what it permits is said (`chipmemory`).
Refusals change nothing and tell a status word only.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.apdu import CLA, Command, Ins, Sw, parse
from meterseal.edge.chip import DESTROYED, FACTORY, PERSONALISED, Kept, Personal, PublicState
from meterseal.edge.chipmemory import TRUST, Memory, pack
from meterseal.edge.handshaking import Handshaking
from meterseal.edge.nv import SealedNv, Trust
from meterseal.edge.refusal import Refused, decode, need
from meterseal.edge.sealing import Sealing
from meterseal.edge.signing import Signing
from meterseal.errors import EngineError, MetersealError

ENVELOPE_PLAIN = 32
"""K_b 16 || K_r 16."""


class Module:
    """One module, powered on with its memory. `random` gives that many random bytes."""

    def __init__(self, store: SealedNv, random: Callable[[int], bytes] = os.urandom) -> None:
        self._memory = memory = Memory(store)
        self._random = random
        handshaking = Handshaking(memory, random)
        sealing = Sealing(memory)
        signing = Signing(memory)
        self._sealing = sealing
        self._handlers: dict[int, Callable[[Command], bytes]] = {
            Ins.GET_CHALLENGE: self._challenge,
            Ins.MAKE_KEY: self._make_key,
            Ins.PERSONALISE: self._personalise,
            Ins.READ_STATE: self._read_state,
            Ins.HELLO: handshaking.hello,
            Ins.PLATFORM: handshaking.platform,
            Ins.SESSION: handshaking.session,
            Ins.SEAL: sealing.seal,
            Ins.SEAL_CONTROL: sealing.seal_control,
            Ins.OPEN: sealing.open,
            Ins.KEEP_ANSWER: sealing.keep_answer,
            Ins.RELEASE: sealing.release,
            Ins.SIGN: signing.sign,
        }

    def transmit(self, command: bytes) -> bytes:
        """Response APDU of one command APDU (`apdu`); any bytes get an answer, never an exception."""
        parsed = parse(command)
        if parsed is None:
            return _word(Sw.WRONG_LENGTH)
        if parsed.cla != (0x00 if parsed.ins == Ins.GET_CHALLENGE else CLA):
            return _word(Sw.NO_CLASS)
        handler = self._handlers.get(parsed.ins)
        if handler is None:
            return _word(Sw.NO_INS)
        if parsed.ins not in _ALWAYS and self._memory.state.life in (FACTORY, DESTROYED):
            return _word(Sw.CONDITIONS)
        try:
            return handler(parsed) + _word(Sw.OK)
        except Refused as refused:
            return _word(refused.word)
        except EngineError:
            return _word(Sw.MEMORY)
        except MetersealError:
            return _word(Sw.SECURITY)

    def _challenge(self, command: Command) -> bytes:
        need(8 <= command.p2 <= 32 and not command.content, Sw.WRONG_LENGTH)
        return self._random(command.p2)

    def _make_key(self, command: Command) -> bytes:
        state = self._memory.state
        need(state.life == FACTORY and not state.private, Sw.CONDITIONS)
        need(len(command.content) == 8, Sw.WRONG_LENGTH)
        key = Sm2PrivateKey.generate(f"the key of module {command.content.hex()}")
        self._memory.save(serial=command.content, private=key.to_pkcs8())
        return key.public_point

    def _personalise(self, command: Command) -> bytes:
        memory = self._memory
        need(memory.state.life == FACTORY and memory.private is not None, Sw.CONDITIONS)
        personal = decode(command.content, Personal)
        right = len(personal.device_id) == 8 and len(personal.project_id) == 16 and personal.suite in (1, 2)
        need(right and 0 < personal.key_version < 256, Sw.WRONG_DATA)
        need(personal.suite == 2 or (len(personal.chain) == 2 and bool(personal.root)), Sw.WRONG_DATA)
        assert memory.private is not None
        keys = memory.private.decrypt(personal.envelope)
        need(len(keys) == ENVELOPE_PLAIN, Sw.SECURITY)
        trust = Trust(personal.root, personal.chain)
        memory.save(
            {TRUST: pack(trust)},
            life=PERSONALISED,
            device_id=personal.device_id,
            suite=personal.suite,
            project_id=personal.project_id,
            key_version=personal.key_version,
            bound_keys={personal.key_version: keys[:16]},
            module_root=keys[16:],
            time_bound=personal.bound_at,
        )
        memory.trust = trust
        return b""

    def _read_state(self, command: Command) -> bytes:
        memory, state = self._memory, self._memory.state
        return pack(
            PublicState(
                life=state.life,
                module_id=state.serial,
                device_id=state.device_id,
                suite=state.suite,
                key_version=state.key_version,
                point=memory.private.public_point if memory.private is not None else b"",
                time_bound=state.time_bound,
                session_id=state.current.session_id if state.current is not None else b"",
                policy=state.current.policy if state.current is not None else 0,
                outstanding=self._sealing.outstanding(),
                command_number=state.command_number,
                chained={channel: one.end_at for channel, one in state.channels.items()},
                kept=tuple(
                    Kept(channel, sequence, int.from_bytes(kept.statement[9:17], "big"))
                    for (channel, sequence), kept in sorted(memory.kept.items())
                ),
            )
        )


_ALWAYS = frozenset((Ins.GET_CHALLENGE, Ins.MAKE_KEY, Ins.PERSONALISE, Ins.READ_STATE))


def _word(word: int) -> bytes:
    return word.to_bytes(2, "big")
