"""Station edge, the security module 安全模块: an emulated chip behind APDUs (HM 8.5.4; LINK sections 2 to 4).

It is no chip: what its memory file and the storage key beside it hold, whoever copies both has copied. It
shows no side-channel resistance either. What it does show is the behaviour: a controller that sends it
commands never gets a key, and no sequence of commands, cut by power at any moment, makes it use a counter
twice, sign two statements under one sequence, act on a command twice or on one that the security service
did not authorise, give a PIN more tries than it has, or hold half a key. One running program has a memory at a
time (`nv`); whoever gets around that lock shares the tries and not the sessions.

Security argument. Keys enter in an envelope to a point whose private half was made here, or under a MAC from
who authenticated; no instruction reads one (`cardkeys` says which key serves what). Every state is written
before what it permits is said (`chipmemory`, `cardmemory`). What a life does not allow stands in one table,
and what is in none is refused. A module that was paired with a device answers nothing but its state until
that device has proved itself. Refusals change nothing but counters and tell a status word only.

    factory --PERSONALISE--> personalised --SESSION--> active --tries spent, EXTERNAL(lock)--> locked
                                                          ^                                      |
    destroyed <--EXTERNAL(destroy)-- personalised, active +------ EXTERNAL(unlock), PUK ---------+
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import msgspec

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.access import Access
from meterseal.edge.apdu import CLA, CardIns, Command, Ins, Sw, parse
from meterseal.edge.cardmemory import CardMemory, Cause
from meterseal.edge.challenge import Challenge
from meterseal.edge.chip import DESTROYED, FACTORY, LOCKED, PERSONALISED, Kept, Personal, PublicState
from meterseal.edge.chipmemory import Memory, pack
from meterseal.edge.firmware_module import FirmwareModule
from meterseal.edge.handshaking import Handshaking
from meterseal.edge.image import Trust
from meterseal.edge.nv import SealedNv
from meterseal.edge.refusal import NOW, Refused, decode, need
from meterseal.edge.sealing import Sealing
from meterseal.edge.signing import Signing
from meterseal.edge.storing import Storing
from meterseal.errors import EngineError, MetersealError
from meterseal.link import profiles
from meterseal.link.cardkeys import Purpose

ENVELOPE_PLAIN = 32
"""K_b 16 || K_r 16."""


class Module:
    """One module, powered on with its memory. `random` gives that many random bytes.

    A memory that does not open, or that holds half of something, makes no module: `fault` says why, and every
    command is answered with 6581. LocalError `module.in-use` when another program has powered it on.
    """

    def __init__(self, store: SealedNv, random: Callable[[int], bytes] = os.urandom) -> None:
        self._busy = threading.Lock()
        self.fault = ""
        try:
            store.hold()
            self._memory = memory = Memory(store)
            self._card = card = CardMemory(store)
            firmware = FirmwareModule(memory)
        except MetersealError as error:
            if error.code == "module.in-use":
                raise
            self.fault = error.message
            return
        except msgspec.MsgspecError:
            self.fault = "A page of the module's memory is none that this version reads."
            return
        self._challenge = challenge = Challenge()
        self._access = access = Access(memory, card, challenge, random)
        self._storing = storing = Storing(memory, card, access)
        handshaking = Handshaking(memory, card, random)
        self._sealing = sealing = Sealing(memory, card, firmware)
        signing = Signing(memory)
        self._handlers: dict[int, Callable[[Command], bytes]] = {
            _own(Ins.MAKE_KEY): self._make_key,
            _own(Ins.PERSONALISE): self._personalise,
            _own(Ins.READ_STATE): self._read_state,
            _own(Ins.HELLO): handshaking.hello,
            _own(Ins.PLATFORM): handshaking.platform,
            _own(Ins.SESSION): handshaking.session,
            _own(Ins.SEAL): sealing.seal,
            _own(Ins.SEAL_CONTROL): sealing.seal_control,
            _own(Ins.OPEN): sealing.open,
            _own(Ins.KEEP_ANSWER): sealing.keep_answer,
            _own(Ins.RELEASE): sealing.release,
            _own(Ins.SIGN): signing.sign,
            _own(Ins.FIRMWARE_CHECK): firmware.check,
            _own(Ins.FIRMWARE_SWITCH): firmware.switch,
            _own(Ins.FIRMWARE_FALL_BACK): firmware.fall_back,
            _own(Ins.FIRMWARE_STATE): firmware.state,
            CardIns.GET_CHALLENGE: access.give_challenge,
            CardIns.PRESENT: access.prove_device,
            CardIns.PAIR: access.pair,
            CardIns.VERIFY: access.verify,
            CardIns.CHANGE: access.change,
            CardIns.CHANGE_SEALED: access.change_sealed,
            CardIns.RESET: access.reset,
            CardIns.INTERNAL: access.answer,
            CardIns.EXTERNAL: access.authenticate,
            CardIns.READ: storing.read,
            CardIns.READ_SEALED: storing.read_sealed,
            CardIns.UPDATE: storing.update,
            CardIns.PUT_POLICY: storing.put_policy,
            CardIns.WRITE_KEY: storing.write_key,
            CardIns.INIT_DESCRYPT: storing.init_descrypt,
            CardIns.DESCRYPT: storing.descrypt,
        }

    @property
    def life(self) -> int:
        """Factory, personalised, active, locked or destroyed."""
        life = self._memory.state.life
        return LOCKED if life != DESTROYED and self._card.state.locked else life

    def transmit(self, command: bytes) -> bytes:
        """Response APDU of one command APDU (`apdu`); any bytes get an answer, never an exception."""
        parsed = parse(command)
        if parsed is None:
            return _word(Sw.WRONG_LENGTH)
        with self._busy:
            return self._carry_out(parsed)

    def _carry_out(self, command: Command) -> bytes:
        if self.fault:
            return _word(Sw.MEMORY)
        name = command.cla << 8 | command.ins
        handler = self._handlers.get(name)
        if handler is None:
            return _word(Sw.NO_INS if command.cla in _CLASSES else Sw.NO_CLASS)
        timed = name in _TIMED and len(command.content) >= NOW
        self._challenge.pass_command(int.from_bytes(command.content[:NOW], "big") if timed else None)
        try:
            if name in _REFRESH:
                self._card.refresh()
        except MetersealError as error:
            self.fault = error.message
            return _word(Sw.MEMORY)
        try:
            self._need_life(name, command)
            return handler(command) + _word(Sw.OK)
        except Refused as refused:
            return _word(refused.word)
        except EngineError:
            return _word(Sw.MEMORY)
        except MetersealError:
            return _word(Sw.SECURITY)
        finally:
            if self._card.state.locked or self._memory.state.life == DESTROYED:
                self._access.forget()
                self._storing.forget()

    def _need_life(self, name: int, command: Command) -> None:
        """What each life allows; a paired module allows nothing to a device that has not proved itself."""
        if name == _own(Ins.READ_STATE):
            return
        life = self.life
        need(life != DESTROYED, Sw.CONDITIONS)
        if life == FACTORY:
            need(name in _FACTORY, Sw.CONDITIONS)
        elif life == LOCKED:
            unlocks = name == CardIns.EXTERNAL and command.p2 == Purpose.UNLOCK
            by_puk = name == CardIns.RESET and self._card.state.locked == Cause.PIN
            need(name not in (CardIns.VERIFY, CardIns.CHANGE, CardIns.RESET) or by_puk, Sw.BLOCKED)
            need(unlocks or by_puk or name == CardIns.GET_CHALLENGE, Sw.CONDITIONS)
        else:
            need(self._access.present or name in _UNPROVED, Sw.SECURITY)

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
        need(personal.profile in profiles.names(), Sw.WRONG_DATA)
        need(personal.suite == 2 or (len(personal.chain) == 2 and bool(personal.root)), Sw.WRONG_DATA)
        assert memory.private is not None
        keys = memory.private.decrypt(personal.envelope)
        need(len(keys) == ENVELOPE_PLAIN, Sw.SECURITY)
        memory.save(
            trust=Trust(personal.root, personal.chain),
            life=PERSONALISED,
            device_id=personal.device_id,
            suite=personal.suite,
            project_id=personal.project_id,
            key_version=personal.key_version,
            bound_keys={personal.key_version: keys[:16]},
            module_root=keys[16:],
            time_bound=personal.bound_at,
            profile=personal.profile,
            gathered=personal.gathered,
        )
        return b""

    def _read_state(self, command: Command) -> bytes:
        memory, state, card = self._memory, self._memory.state, self._card.state
        return pack(
            PublicState(
                life=self.life,
                module_id=state.serial,
                device_id=state.device_id,
                suite=state.suite,
                key_version=state.key_version,
                point=memory.private.public_point if memory.private is not None else b"",
                time_bound=state.time_bound,
                session_id=state.current.session_id if state.current is not None else b"",
                policy=self._card.policy(state.current.policy if state.current is not None else 0),
                outstanding=self._sealing.outstanding(),
                command_number=state.command_number,
                chained={channel: one.end_at for channel, one in state.channels.items()},
                kept=tuple(
                    Kept(channel, sequence, int.from_bytes(kept.statement[9:17], "big"))
                    for (channel, sequence), kept in sorted(memory.kept.items())
                ),
                paired=bool(card.pairing),
                own_policy=card.policy,
                left=card.left,
                uses=card.uses,
                foreign=card.foreign,
                profile=state.profile,
                gathered=memory.gathered,
            )
        )


def _own(ins: Ins) -> int:
    return CLA << 8 | ins


_CLASSES = frozenset((0x00, 0x04, CLA, 0x84))
_REFRESH = frozenset((*CardIns, _own(Ins.READ_STATE)))
_TIMED = frozenset(
    _own(ins)
    for ins in (
        Ins.HELLO,
        Ins.PLATFORM,
        Ins.SESSION,
        Ins.SEAL,
        Ins.SEAL_CONTROL,
        Ins.OPEN,
        Ins.FIRMWARE_SWITCH,
    )
)
_FACTORY = frozenset((CardIns.GET_CHALLENGE, _own(Ins.MAKE_KEY), _own(Ins.PERSONALISE)))
_UNPROVED = frozenset((CardIns.GET_CHALLENGE, CardIns.PRESENT))


def _word(word: int) -> bytes:
    return word.to_bytes(2, "big")
