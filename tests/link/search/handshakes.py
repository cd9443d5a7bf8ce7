"""The handshake as a game: honest devices, an honest service, both the shipped machines, and an attacker.

What is searched: every order in which messages are made, delivered to anyone, delayed, repeated, reflected,
altered by swaps (`fields`) or never delivered, while time passes (31 s, 16 min) and the service restarts
once. The service's table of runs is that of LINK section 3: the same HELLO meets the same run, a run ends
after 15 minutes or with the process. What is not: more than one restart; the bound of three half-open runs,
which this many runs do not reach.

Each machine stands alone and is deterministic, so an act on one is carried out on the shipped code once and
remembered; the states of all of them together are what is counted. A machine that refuses must be what it
was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from typing import NamedTuple

from meterseal.errors import PeerError, TrustError
from meterseal.link import messages
from meterseal.link.handshake import DeviceRun, Enrolment, Granted, Identity, PlatformRun, Session
from tests.crypto.pki import NOW
from tests.link.search import fields, parties
from tests.link.search.parties import A_MODULE, B_MODULE, A, B, DevicePorts, PlatformPorts, key_of

TIMES = (NOW, NOW + 31_000, NOW + 31_000 + 16 * 60_000)
FORGED_COOKIE = messages.retry(b"a forged cookie!")


class Plan(NamedTuple):
    """One game. `devices`: (suite, device) of each honest run, in order; `cast` names the attacker's machines."""

    name: str
    devices: tuple[tuple[int, bytes], ...]
    cast: tuple[str, ...] = ()
    swaps: int = 1
    times: int = 3
    restarts: int = 1
    retry: bool = False
    key_tree_leaked: bool = False
    stale: frozenset[str] = frozenset()


class State(NamedTuple):
    """`devices`: number of each run's state; `table`: (number of a run's state, alive) of all runs; `known`: messages."""

    devices: tuple[int, ...]
    table: frozenset[tuple[int, bool]]
    known: int
    time: int
    restarts: int


class DeviceFacts(NamedTuple):
    """What an invariant may ask of a device run."""

    run: DeviceRun
    hello: bytes
    platform: bytes
    device: bytes
    session: Session | None
    th4: bytes


class PlatformFacts(NamedTuple):
    """What an invariant may ask of a run of the service."""

    run: PlatformRun
    hello: bytes
    platform: bytes
    nonce: bytes
    granted: Granted | None


class Handshakes:
    """The game of a plan, for `explore`; invariants named in `forgiven` are not looked at."""

    def __init__(self, plan: Plan, forgiven: frozenset[str] = frozenset()) -> None:
        parties.forget()
        self.plan, self.forgiven = plan, forgiven
        self.most_sessions = 0
        self._names = [f"{'AB'[device != A]}{at + 1}" for at, (_, device) in enumerate(plan.devices)]
        self._suite = {device: suite for suite, device in plan.devices}
        self.enrolments = {
            (device, A_MODULE if device == A else B_MODULE, 1): Enrolment(suite, key_of(device))
            for suite, device in plan.devices
        }
        self.enrolments[parties.X, parties.X_MODULE, 1] = Enrolment(plan.devices[0][0], key_of(parties.X))
        self.executed = 0
        self._messages: list[bytes] = []
        self._labels: list[str] = []
        self._ids: dict[bytes, int] = {}
        self._kinds: dict[int, int] = {}
        self._devices: list[DeviceFacts] = []
        self._device_ids: dict[object, int] = {}
        self._runs: list[PlatformFacts] = []
        self._run_ids: dict[object, int] = {}
        self._dropped_at: dict[int, int] = {}
        self._acts: dict[tuple[object, ...], tuple[tuple[str, int, int], ...]] = {}
        self._moves: dict[tuple[object, ...], tuple[tuple[str, int, int], ...]] = {}
        self._verdicts: dict[tuple[object, ...], str] = {}
        self._swapped: dict[tuple[int, int], tuple[tuple[str, bytes], ...]] = {}
        self._rogues: dict[tuple[str, bytes], PlatformRun] = {}
        self._rogue_devices: dict[str, DeviceRun] = {}
        self._by_hello: dict[bytes, str] = {}

    # --- the game -----------------------------------------------------------------------------------------

    def first(self) -> State:
        known = 0
        for name in self.plan.cast:
            known |= self._rogue_greets(name)
        if self.plan.retry:
            known |= self._learn(FORGED_COOKIE, "forged RETRY")
        numbers = []
        for at, (suite, device) in enumerate(self.plan.devices):
            run = parties.device_run(
                self._names[at],
                suite,
                device,
                A_MODULE if device == A else B_MODULE,
                slow=device == B,
                fresh="N_d" not in self.plan.stale,
            )
            numbers.append(self._device_number(at, run))
        return State(tuple(numbers), frozenset(), known, 0, self.plan.restarts)

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        devices, table, known, time, restarts = state
        for at, number in enumerate(devices):
            for act, then, learned in self._device_moves(at, number, known, time):
                yield (
                    act,
                    State((*devices[:at], then, *devices[at + 1 :]), table, known | learned, time, restarts),
                )
        for act, run, then, learned in self._service_moves(table, known, time):
            now = table - {(run, True)} if run >= 0 else table
            yield act, State(devices, now | {(then, True)}, known | learned, time, restarts)
        if time + 1 < self.plan.times:
            late = TIMES[time + 1]
            kept = frozenset(
                (run, alive and late - self._runs[run].run.began_at <= 15 * 60_000) for run, alive in table
            )
            yield f"{(late - TIMES[time]) // 1000} s pass", State(devices, kept, known, time + 1, restarts)
        if restarts and any(alive for _, alive in table):
            gone = frozenset((run, False) for run, _ in table)
            yield "the service restarts", State(devices, gone, known, time, restarts - 1)

    def broken(self, state: State) -> str:
        at = (state.devices, frozenset(run for run, _ in state.table))
        if at not in self._verdicts:
            self._verdicts[at] = self._judge(state)
        return self._verdicts[at]

    def sessions(self, state: State) -> int:
        """How many device runs have a session."""
        return sum(self._devices[number].session is not None for number in state.devices)

    # --- what must hold -----------------------------------------------------------------------------------

    def _judge(self, state: State) -> str:
        self.most_sessions = max(self.most_sessions, self.sessions(state))
        for wrong in self._wrongs(state):
            if wrong.split(":")[0] not in self.forgiven:
                return wrong
        return ""

    def _wrongs(self, state: State) -> Iterator[str]:
        devices = [self._devices[number] for number in state.devices]
        runs = [self._runs[number] for number, _ in state.table]
        said = {run.platform for run in runs}
        if any(one.platform and one.platform not in said for one in devices):
            yield "asked: a device showed its credential to a PLATFORM that the service did not make"
        if not self.plan.key_tree_leaked:
            greeted = {one.hello for one in devices}
            if any(run.hello not in greeted and run.run.hello.device_id != parties.X for run in runs):  # type: ignore[union-attr]
                yield "greeted: the service did costly work for a HELLO that no module made"
        if len({run.nonce for run in runs}) < len(runs):
            yield "fresh: an N_p came twice, so that what the service shows for one run is good for another"
        granted = [run.granted for run in runs if run.granted is not None]
        if not granted and all(one.session is None for one in devices):
            return
        by_keys = {one.keys.up_mac: one for one in granted}
        by_id = {one.session_id: one for one in granted}
        if min(len(by_keys), len(by_id), len({one.th4 for one in granted})) < len(granted):
            yield "one each: two sessions that the service granted share keys, an id or a transcript"
        taken = [one.session.session_id for one in devices if one.session is not None]
        if len(set(taken)) < len(taken):
            yield "one each: two runs of devices took the same session"
        for one in devices:
            if one.session is not None and not _agree(
                one, by_keys.get(one.session.keys.up_mac), self._suite_of(one)
            ):
                yield "agreement: a device has a session that the service did not grant it so"
        for grant in granted:
            if grant.device_id == parties.X:
                continue
            if grant.suite != self._suite[grant.device_id]:
                yield "agreement: the service granted a session in a suite that is not the module's"
            answered = sum(bool(one.device) and one.th4 == grant.th4 for one in devices)
            if answered != 1:
                yield f"answered: a session was granted and {answered} runs of its device answered for it"

    def _suite_of(self, facts: DeviceFacts) -> int:
        return self._suite[messages.device_id_of(facts.hello)]

    # --- machines -----------------------------------------------------------------------------------------

    def _device_number(self, at: int, run: DeviceRun) -> int:
        hello = run._hello.encode() if run._hello is not None else b""
        key = (at, run.phase, hello, run._platform, run._device, run._session_message, run._greeted_at)
        key += (run._answered_at, run.bound)
        if key not in self._device_ids:
            th4 = run._transcript.th4(run._device) if run._transcript is not None else b""
            canonical = run._hello.canonical() if run._hello is not None else b""
            self._device_ids[key] = len(self._devices)
            self._devices.append(DeviceFacts(run, canonical, run._platform, run._device, run._session, th4))
        return self._device_ids[key]

    def _run_number(self, run: PlatformRun) -> int:
        assert run.hello is not None
        key = (run._ports.name, run.hello.canonical(), run.phase, run.began_at, run._device_digest)  # type: ignore[attr-defined]
        granted = run._granted
        key += (granted.granted_at if granted else 0,)  # type: ignore[assignment]
        if key not in self._run_ids:
            self._run_ids[key] = len(self._runs)
            nonce = messages.parse_platform(run._platform).nonce
            self._runs.append(PlatformFacts(run, run.hello.canonical(), run._platform, nonce, granted))
        return self._run_ids[key]

    def _device_moves(self, at: int, number: int, known: int, time: int) -> tuple[tuple[str, int, int], ...]:
        key = ("device", at, number, known, time)
        if key not in self._moves:
            found = list(self._heard(("device", at, number, time), known, self._tell_device))
            if self._devices[number].run.phase == "new":
                found.append(self._greet(at, number, time))
            self._moves[key] = tuple(found)
        return self._moves[key]

    def _greet(self, at: int, number: int, time: int) -> tuple[str, int, int]:
        run = copy(self._devices[number].run)
        hello = run.hello(TIMES[time])
        learned = self._learn(hello, f"HELLO of {self._names[at]}")
        return f"{self._names[at]} begins", self._device_number(at, run), learned

    def _tell_device(
        self, what: tuple[object, ...], message: bytes, label: str
    ) -> tuple[str, int, int] | None:
        _, at, number, time = what
        assert isinstance(at, int)
        assert isinstance(number, int)
        assert isinstance(time, int)
        before = self._devices[number].run
        run, now, answer = copy(before), TIMES[time], b""
        self.executed += 1
        try:
            kind = messages.kind_of(message)
            if kind == messages.RETRY:
                answer = run.retry(message)
            elif kind == messages.SESSION:
                run.session(message, now)
            else:  # a device that waits takes anything for its PLATFORM
                answer = run.platform(message, now)
        except (PeerError, TrustError):
            assert vars(run) == vars(before), "a refused message changed a device"
            return None
        name = self._names[at]
        learned = self._learn(answer, f"{messages.KINDS[answer[3]]} of {name}") if answer else 0
        return f"{name} takes {label}", self._device_number(at, run), learned

    def _service_moves(
        self, table: frozenset[tuple[int, bool]], known: int, time: int
    ) -> Iterable[tuple[str, int, int, int]]:
        key = ("service", table, known, time)
        if key in self._moves:
            return self._moves[key]  # type: ignore[return-value]
        found: list[tuple[str, int, int, int]] = []
        hellos = {self._runs[run].hello for run, alive in table if alive}
        ended: dict[bytes, int] = {}
        for run, alive in table:
            if not alive:
                ended[self._runs[run].hello] = ended.get(self._runs[run].hello, 0) + 1
            else:
                for act, then, learned in self._heard(("run", run, time), known, self._tell_run):
                    found.append((act, run, then, learned))
        for act, number, learned in self._heard(("new", 0, time), known, self._tell_service):
            hello = self._runs[number].hello
            if hello in hellos:
                continue
            if hello in ended:
                act, number, learned = self._begun(hello, act, ended[hello], time)
            found.append((act, -1, number, learned))
        self._moves[key] = tuple(found)  # type: ignore[assignment]
        return found

    def _tell_service(
        self, what: tuple[object, ...], message: bytes, label: str
    ) -> tuple[str, int, int] | None:
        """A message that meets no run: a HELLO begins one."""
        time = what[2]
        assert isinstance(time, int)
        self.executed += 1
        try:
            hello = messages.parse_hello(message)
        except PeerError:
            return None
        ports = PlatformPorts(hello.canonical() + b"\0", self.enrolments, stale=self.plan.stale)
        run = parties.platform_run(ports)
        before = {name: value for name, value in vars(run).items() if name != "_ports"}
        try:
            answer = run.begin(message, TIMES[time])
        except (PeerError, TrustError):
            after = {name: value for name, value in vars(run).items() if name != "_ports"}
            assert after == before, "a refused HELLO changed the service"
            return None
        assert run.begin(message, TIMES[time]) == answer, "the same HELLO met another PLATFORM"
        return f"the service takes {label}", self._run_number(run), self._learn(answer, "PLATFORM")

    def _begun(self, hello: bytes, act: str, before: int, time: int) -> tuple[str, int, int]:
        """The run that the same HELLO begins when `before` runs of it are gone."""
        key = ("again", hello, before, time)
        if key not in self._acts:
            ports = PlatformPorts(hello + bytes((before,)), self.enrolments, stale=self.plan.stale)
            run = parties.platform_run(ports)
            answer = run.begin(hello, TIMES[time])
            self._acts[key] = ((act, self._run_number(run), self._learn(answer, "PLATFORM of a new run")),)
        return self._acts[key][0]

    def _tell_run(self, what: tuple[object, ...], message: bytes, label: str) -> tuple[str, int, int] | None:
        """Anything for a run that is under way; the table finds it by session id."""
        _, number, time = what
        assert isinstance(number, int)
        assert isinstance(time, int)
        before = self._runs[number].run
        try:
            if messages.session_id_of(message) != before.session_id:
                return None
        except PeerError:
            return None
        run = copy(before)
        run._ports = before._ports.fork(before._granted is not None)  # type: ignore[attr-defined]
        self.executed += 1
        try:
            granted = run.finish(message, TIMES[time])
        except (PeerError, TrustError):
            left, right = dict(vars(run)), dict(vars(before))
            del left["_ports"], right["_ports"]
            assert left == right, "a refused message changed a run of the service"
            return None
        learned = self._learn(granted.message, "SESSION")
        return f"the service takes {label}", self._run_number(run), learned

    # --- the attacker -------------------------------------------------------------------------------------

    def _heard(self, what, known: int, tell) -> Iterator[tuple[str, int, int]]:  # type: ignore[no-untyped-def]
        """What a machine takes of all that the attacker can send it, each tried once on the shipped code."""
        seen = list(_bits(known))
        for one in seen:
            yield from self._tried(what, one, one, tell)
            for other in seen:
                if other != one and self._kinds[other] == self._kinds[one]:
                    yield from self._tried(what, one, other, tell)

    def _tried(self, what, one: int, other: int, tell) -> tuple[tuple[str, int, int], ...]:  # type: ignore[no-untyped-def]
        key = (*what, one, other)
        found = self._acts.get(key)
        if found is None:
            here = what[1:3] if what[0] == "device" else what[1:2]
            results = []
            for label, message in self._sendable(one, other):
                result = tell(what, message, label)
                if result is not None and (result[1] != here[-1] or result[2]):
                    results.append(result)
            found = self._acts[key] = tuple(results)
        return found

    def _sendable(self, one: int, other: int) -> tuple[tuple[str, bytes], ...]:
        if (one, other) not in self._swapped:
            message, label = self._messages[one], self._labels[one]
            if one == other:
                made = [(label, message)]
                made += [(f"{label}, {how}", changed) for how, changed in fields.alone(message)]
            else:
                made = [
                    (f"{label} with {how} {self._labels[other]}", changed)
                    for how, changed in fields.mixed(message, self._messages[other], self.plan.swaps)
                ]
            self._swapped[one, other] = tuple(made)
        return self._swapped[one, other]

    def _learn(self, message: bytes, label: str) -> int:
        """The message, and all that the attacker's own machines make of it, as bits of what is known."""
        if message in self._ids:
            return self._closure(message)
        self._ids[message] = len(self._messages)
        self._messages.append(message)
        self._labels.append(label)
        self._kinds[self._ids[message]] = message[3]
        return self._closure(message)

    def _closure(self, message: bytes) -> int:
        known = 1 << self._ids[message]
        for name in self.plan.cast:
            answer = self._rogue_answers(name, message)
            if answer:
                known |= self._learn(answer, f"{messages.KINDS[answer[3]]} of the attacker ({name})")
        return known

    def _rogue_greets(self, name: str) -> int:
        device = ROGUE_DEVICES.get(name)
        if device is None:
            return 0
        run = self._rogue_devices[name] = device()
        hello = run.hello(NOW)
        self._by_hello[hello] = name
        return self._learn(hello, f"HELLO of the attacker ({name})")

    def _rogue_answers(self, name: str, message: bytes) -> bytes:
        """What a machine of the attacker makes of a message; empty when it makes nothing."""
        kind = message[3]
        try:
            if name in ROGUE_DEVICES and kind == messages.PLATFORM:
                # Tried against a copy, for the attacker's own device may meet any number of runs.
                return copy(self._rogue_devices[name]).platform(message, NOW)
            if name in ROGUE_PLATFORMS and kind == messages.HELLO and message not in self._by_hello:
                if (name, message) not in self._rogues:
                    self._rogues[name, message] = _rogue_run(name, message)
                return self._rogues[name, message]._platform
            if name in ROGUE_PLATFORMS and kind == messages.DEVICE:
                for (owner, _), run in list(self._rogues.items()):
                    if owner == name and run.session_id == messages.session_id_of(message):
                        return run.finish(message, NOW).message
        except (PeerError, TrustError):
            return b""
        return b""


def _agree(one: DeviceFacts, granted: Granted | None, suite: int) -> bool:
    session = one.session
    if granted is None or session is None:
        return False
    ids = messages.parse_hello(one.hello)
    return (
        (granted.device_id, granted.module_id, granted.key_version) == (ids.device_id, ids.module_id, 1)
        and granted.suite == suite == ids.suite
        and (granted.session_id, granted.keys, granted.th4) == (session.session_id, session.keys, one.th4)
        and (granted.records_allowed, granted.seconds_allowed, granted.policy, granted.granted_at)
        == (session.records_allowed, session.seconds_allowed, session.policy, session.platform_at)
    )


def _bits(known: int) -> Iterator[int]:
    while known:
        low = known & -known
        yield low.bit_length() - 1
        known ^= low


# --- the attacker's own machines: the shipped ones with the attacker's ports ---------------------------------


def _rogue(name: str, suite: int, owner: str, chain: tuple[bytes, ...], device: bytes = A) -> DeviceRun:
    module = {A: A_MODULE, B: B_MODULE, parties.X: parties.X_MODULE}[device]
    ports = DevicePorts(name, device, signer=parties.owned_key(owner), believes=True)
    return DeviceRun(Identity(suite, device, module, 1, chain), ports, bound=0)


ROGUE_DEVICES = {
    "own module": lambda: _rogue(
        "own module", 1, "X", parties.chain_of(parties.X, parties.X_MODULE, "X"), parties.X
    ),
    "own module, suite 2": lambda: _rogue("own module, suite 2", 2, "X", (), parties.X),
    "A with the attacker's certificate": lambda: _rogue(
        "A as X", 1, "X", parties.chain_of(parties.X, parties.X_MODULE, "X")
    ),
    "A with A's certificate and another key": lambda: _rogue(
        "A unsigned", 1, "X", parties.chain_of(A, A_MODULE, A.hex())
    ),
    "A with a certificate of its own making": lambda: _rogue(
        "A self-made", 1, "X", parties.chain_of(A, A_MODULE, "X", "theirs")
    ),
    "A in suite 2": lambda: _rogue("A in suite 2", 2, "X", ()),
}
"""A device of the attacker; those named A know A's K_link, so they play only where the key tree leaked."""

ROGUE_PLATFORMS = {
    "platform with a certificate of its own making": lambda: (
        tuple(parties.others_tree().platform_chain),
        parties.others_tree().platform_key,
        1,
        True,
    ),
    "platform of another project": lambda: (
        parties.foreign_project_chain(),
        parties.owned_key("other project"),
        1,
        True,
    ),
    "platform with our chain and another key": lambda: (
        tuple(parties.tree().platform_chain),
        parties.owned_key("other project"),
        1,
        True,
    ),
    "platform in suite 2": lambda: ((), parties.owned_key("other project"), 2, True),
    "platform with our signing key and no K_link": lambda: (
        tuple(parties.tree().platform_chain),
        parties.tree().platform_key,
        1,
        False,
    ),
    "platform in suite 2 with no K_link": lambda: ((), parties.owned_key("other project"), 2, False),
}
"""A platform of the attacker: chain, signing key, suite, and whether it knows K_link."""


def _rogue_run(name: str, message: bytes) -> PlatformRun:
    """The attacker's answer to a HELLO: the shipped machine, made to skip its own checks."""
    chain, signer, suite, knows = ROGUE_PLATFORMS[name]()
    hello = messages.parse_hello(message)
    ports = PlatformPorts(
        b"attacker " + name.encode() + message, {}, chain=chain or None, signer=signer, believes=True
    )
    run = parties.platform_run(ports)
    link_key = key_of(hello.device_id) if knows else key_of(b"nobody")
    run._answer(hello, Enrolment(suite, link_key))
    run.hello, run.began_at, run.phase = messages.parse_hello(hello.canonical()), NOW, "greeted"
    if suite == 2:
        run.hello = messages.Hello(
            2, hello.device_id, hello.module_id, hello.key_version, hello.nonce, b"", hello.mac
        )
    return run
