"""The keys doctor inside the service: which link of a meter's chain is wrong, from a refused message or a frame.

It changes nothing, gives out no key and answers the operator alone; the desk limits how often and writes each
question down.

Security argument: an answer says which of a bounded list of guesses a mac holds under. To whoever can ask it (the
account that runs the system) this is no news worth having: it names versions, ids and check values that the same
account reads in facts and usage, and no key, plaintext or session key. It is no oracle for the field: no device
and no head-end reaches it, and what a device hears of a refusal stays silence.
"""

from __future__ import annotations

import msgspec

from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.link import control, messages, profiles, records
from meterseal.link.counters import CounterSet
from meterseal.link.messages import Hello
from meterseal.link.profiles import SecurityProfile
from meterseal.link.schedule import TrafficKeys
from meterseal.security.chart import Chart
from meterseal.security.datakeys import unwrap_session
from meterseal.security.hypotheses import Guess, Keys, Trial, guesses, orders, projects_near, try_hello
from meterseal.security.keylife import KeyLife
from meterseal.security.neighbours import fit_of, holds_as
from meterseal.security.pki import Pki
from meterseal.security.registry import Module, Registry
from meterseal.security.symptoms import Diagnosis, SessionShown, Symptom, session_named, unwrapped
from meterseal.security.vault import Vault
from meterseal.wire.codec import search

_ELECTRICITY = 0xD7
_PLAIN_ONLY, _CIPHER_ONLY = 0, 2
_MOST_BYTES = 8192
_MOST_SESSIONS = 64
_MOST_PROJECTS = 8


class Doctor:
    """Looks at what was refused."""

    def __init__(
        self, keys: Vault, registry: Registry, pki: Pki, keylife: KeyLife, project_id: bytes
    ) -> None:
        self._keys, self._registry, self._pki, self._keylife = keys, registry, pki, keylife
        self._project_id = project_id

    def look(self, symptom: Symptom, now: int) -> Diagnosis:
        """The diagnosis of one message or frame; LocalError `security.request` for a symptom out of bounds."""
        if (
            len(symptom.meter) != messages.ID
            or not 0 < len(symptom.message) <= _MOST_BYTES
            or len(symptom.sessions) > _MOST_SESSIONS
            or len(symptom.projects) > _MOST_PROJECTS
            or any(len(project) != 16 for project in symptom.projects)
        ):
            raise LocalError(
                "security.request",
                f"A meter has 8 bytes, a message 1 to {_MOST_BYTES}, and at most {_MOST_PROJECTS} other projects of 16 "
                "bytes are tried.",
            )
        chart = Chart(symptom.meter)
        message, envelope = unwrapped(symptom.message)
        if envelope:
            chart.envelope(envelope)
        try:
            if message[:3] == messages.MAGIC:
                return self._handshake(message, symptom, chart, now)
            if message[:3] == records.MAGIC:
                return self._record(message, symptom, chart, now)
        except MetersealError as error:
            return chart.unreadable(error.message)
        return self._frame(message, symptom, chart)

    # --- handshake messages

    def _handshake(self, message: bytes, symptom: Symptom, chart: Chart, now: int) -> Diagnosis:
        kind = messages.kind_of(message)
        if kind != messages.HELLO:
            return chart.closed(
                messages.KINDS[kind],
                "Only a HELLO can be tried against keys afterwards; record the meter's next HELLO and show that.",
            )
        hello = messages.parse_hello(message)
        own = self._registry.of_device(symptom.meter)
        claimed = self._registry.module(hello.module_id)
        self._keys.use("PROJECT", 1)
        self._claims(hello, symptom.meter, own, claimed, chart)
        trial = self._tried(hello, symptom, own, claimed)
        if trial.guess is not None:
            self._held(hello, trial, symptom, chart)
        elif trial.factory:
            chart.wrong(
                "key version",
                f"The module still has its factory key ({trial.factory}): it was never personalised.",
                f"version {hello.key_version}",
                "factory key",
            )
        else:
            chart.wrong(
                "project",
                f"Its key is from none of {trial.tried} guesses: it was made under another root, or bytes of the "
                "message changed on the way.",
                self._project_id.hex(),
                "no project that was tried",
            )
            for level in trial.untried:
                chart.unchecked(
                    "region", f"Keys above {level} are not at hand here, so other regions were not tried."
                )
        chart.unchecked("counter", "A HELLO has no counter.")
        module = claimed or own
        self._suite(hello, module, chart)
        self._certificate(module, chart, now)
        return chart.diagnosis("HELLO")

    def _claims(
        self, hello: Hello, meter: bytes, own: Module | None, claimed: Module | None, chart: Chart
    ) -> None:
        chart.address(hello.device_id, self._known(hello.device_id))
        if claimed is None:
            said = "No such module is enrolled."
            if own is not None:
                said = f"The module that it names is not enrolled; this meter's is {own.module_id.hex()}."
            turned = self._registry.module(hello.module_id[::-1])
            if turned is not None:
                said = "The module's serial stands turned round, low byte first."
            chart.wrong(
                "module", said, own.module_id.hex() if own else "an enrolled module", hello.module_id.hex()
            )
        elif claimed.device_id != meter:
            chart.wrong(
                "module",
                f"The module belongs to device {claimed.device_id.hex()}: it was moved or copied.",
                own.module_id.hex() if own else "none",
                hello.module_id.hex(),
            )
        elif claimed.state != "active":
            said = "The module was withdrawn" + (f"; {own.module_id.hex()} took its place." if own else ".")
            chart.wrong("module", said, own.module_id.hex() if own else "a new module", hello.module_id.hex())
        else:
            chart.good("module", f"{hello.module_id.hex()} is enrolled in this meter and in service.")

    def _tried(self, hello: Hello, symptom: Symptom, own: Module | None, claimed: Module | None) -> Trial:
        expected = Guess(hello.device_id, hello.module_id, hello.key_version, self._project_id)
        here = [module for module in (own, claimed) if module is not None]
        versions = {facts.version for facts in self._keys.all_facts() if facts.id == "DIAK"}
        near = {v + step for v in (hello.key_version, *(m.key_version for m in here)) for step in (-1, 0, 1)}
        others = [m.module_id for m in self._registry.all_of(symptom.meter)[:4]]
        devices = [symptom.meter, *(m.device_id for m in here), *orders(hello.device_id).values()]
        modules = [*(m.module_id for m in here), *others, hello.module_id[::-1]]
        projects = [*symptom.projects, *projects_near(self._project_id).values()]
        order = guesses(
            expected,
            devices=devices,
            modules=modules,
            versions=sorted(versions | near, reverse=True)[:8],
            projects=projects,
        )
        return try_hello(hello, Keys(self._keys, self._project_id), order)

    def _held(self, hello: Hello, trial: Trial, symptom: Symptom, chart: Chart) -> None:
        """The mac holds under a guess: what of it was not expected is what is wrong."""
        guess, check = trial.guess, f"check value {trial.check_value.hex()}"
        assert guess is not None
        if guess.device_id != hello.device_id:
            names = {value: name for name, value in orders(hello.device_id).items()}
            how = names.get(guess.device_id, "another meter's")
            chart.wrong(
                "address",
                f"The key was made for another address than the HELLO names ({how}).",
                hello.device_id.hex(),
                guess.device_id.hex(),
            )
        if guess.module_id != hello.module_id:
            chart.wrong(
                "module",
                "The key was made for another module than the HELLO names.",
                hello.module_id.hex(),
                guess.module_id.hex(),
            )
        self._version(hello, guess, check, chart)
        near = {value: name for name, value in projects_near(self._project_id).items()}
        said = near.get(guess.project_id, "another project that was given to try")
        if guess.project_id[:8] == self._project_id[:8]:
            chart.good("region", f"Its key is of region {self._project_id[:8].hex()}.")
        else:
            chart.wrong(
                "region",
                f"Its key is of another region: {said}.",
                self._project_id[:8].hex(),
                guess.project_id[:8].hex(),
            )
        if guess.project_id[8:] == self._project_id[8:]:
            chart.good("project", f"Its key is of project {self._project_id[8:].hex()}.")
        else:
            chart.wrong(
                "project",
                f"Its key is of another project: {said}.",
                self._project_id[8:].hex(),
                guess.project_id[8:].hex(),
            )

    def _version(self, hello: Hello, guess: Guess, check: str, chart: Chart) -> None:
        module = self._registry.module(hello.module_id)
        if guess.version != hello.key_version:
            chart.wrong(
                "key version",
                "It names one key version and uses another.",
                f"version {hello.key_version}",
                f"version {guess.version}, {check}",
            )
        elif module is not None and not self._keylife.accepts(module, hello.key_version):
            chart.wrong(
                "key version",
                "The module uses a key version that is not accepted from it (any more).",
                f"version {module.key_version}",
                f"version {hello.key_version}, {check}",
            )
        else:
            chart.good("key version", f"Version {guess.version}, {check}.")

    def _suite(self, hello: Hello, module: Module | None, chart: Chart) -> None:
        if module is None:
            chart.unchecked("profile", "No module is enrolled whose suite and profile could be compared.")
        elif hello.suite != module.suite:
            chart.wrong(
                "profile",
                "It asks for another suite than it was enrolled with.",
                f"suite {module.suite}",
                f"suite {hello.suite}",
            )
        else:
            chart.good("profile", f"Suite {module.suite}, profile {module.profile}, policy {module.policy}.")

    def _certificate(self, module: Module | None, chart: Chart, now: int) -> None:
        if module is None:
            chart.unchecked("certificate", "No module is enrolled that could have one.")
        elif not module.leaf:
            chart.unchecked("certificate", "Suite 2 has no certificates.")
        else:
            try:
                leaf = self._pki.check_device(
                    list(self._pki.device_chain(module.leaf)), module.device_id, module.module_id, now
                )
            except TrustError as error:
                chart.wrong("certificate", error.message, "a certificate in force", error.code)
            else:
                chart.good("certificate", f"Serial {leaf.serial:x} holds under our root and is not revoked.")

    # --- records

    def _record(self, message: bytes, symptom: Symptom, chart: Chart, now: int) -> Diagnosis:
        if not session_named(message):
            return chart.unreadable("The record ends before its header does; record it again.")
        named = next((one for one in symptom.sessions if one.session_id == session_named(message)), None)
        module = self._registry.of_device(symptom.meter)
        if named is None:
            chart.wrong(
                "key version",
                "The session is not stored: it is another system's, or it ended more than 35 days ago.",
                "a session of this meter",
                session_named(message).hex(),
            )
            return chart.diagnosis("record")
        chart.address(named.device_id, self._known(named.device_id), of="session")
        keys = self._opened(named)
        own = profiles.OURS if module is None else profiles.load(module.profile)
        fit = None if keys is None else fit_of(keys, message, own)
        if keys is None or fit is None:
            header = records.parse_header(message, profile=own)
            self._other_keys(message, named, keys, symptom, chart, own)
        else:
            name, profile, header = fit
            if name:
                chart.wrong("profile", "It is sealed by another security profile.", own.name, name)
            self._sealed_right(message, header, keys, named, chart, profile)
        self._spent(header, named, chart)
        if module is None:
            chart.wrong("module", "The meter has no module in service.", "a module", "none")
        elif module.module_id != named.module_id:
            chart.wrong(
                "module",
                "The session is of a module that is not this meter's.",
                module.module_id.hex(),
                named.module_id.hex(),
            )
        else:
            chart.good("module", f"{module.module_id.hex()} is enrolled in this meter and in service.")
        self._certificate(module, chart, now)
        return chart.diagnosis("record")

    def _opened(self, session: SessionShown) -> TrafficKeys | None:
        try:
            packed = unwrap_session(self._keys, session.session_id, session.device_id, session.wrapped)
            return msgspec.msgpack.decode(packed, type=TrafficKeys)
        except (TrustError, msgspec.DecodeError):
            return None

    def _other_keys(
        self,
        message: bytes,
        named: SessionShown,
        keys: TrafficKeys | None,
        symptom: Symptom,
        chart: Chart,
        own: SecurityProfile,
    ) -> None:
        """The tag does not hold under the session that the record names: is it another session's, or changed?"""
        if keys is None:
            chart.unchecked(
                "key version",
                "The stored session does not open here; its keys were destroyed or are another system's.",
            )
            return
        for flags in sorted(records.LEGAL):
            if records.check_tag(keys, message[:3] + bytes((flags,)) + message[4:], own):
                chart.wrong(
                    "profile",
                    "Its flags (way, control, plain) were changed after it was sealed: reflected, or damaged.",
                    f"flags {flags:02x}",
                    f"flags {message[3]:02x}",
                )
                return
        for other in symptom.sessions:
            opened = self._opened(other) if other is not named else None
            if opened is not None and holds_as(opened, message, other.session_id, own):
                chart.wrong(
                    "key version",
                    "It is sealed with the keys of another session than it names.",
                    f"session {named.session_id.hex()}",
                    f"session {other.session_id.hex()}",
                )
                return
        chart.wrong(
            "key version",
            "The tag holds under no session of this meter: sealed with other keys, or changed on the way.",
            f"session {named.session_id.hex()}",
            "unknown keys",
        )

    def _sealed_right(
        self,
        message: bytes,
        header: records.Header,
        keys: TrafficKeys,
        named: SessionShown,
        chart: Chart,
        profile: SecurityProfile,
    ) -> None:
        chart.good("key version", f"The tag holds under session {named.session_id.hex()}.")
        for link in ("region", "project"):
            chart.good(link, "The session was agreed under this system's keys.")
        if header.plain and named.policy == _CIPHER_ONLY:
            chart.wrong("profile", "Plain data under a policy of cipher only.", "policy 2", "a plain record")
            return
        if not header.plain and not header.control and not header.guarded and named.policy == _PLAIN_ONLY:
            chart.wrong("profile", "Cipher data under a policy of plain only.", "policy 0", "a cipher record")
            return
        try:
            if header.control:
                control.open_control(keys, header, message, profile)
            elif not header.guarded:
                frames = records.parse_body(header, message)
                for frame in frames:
                    if not header.vouched and frame.device_id != named.device_id:
                        chart.address(frame.device_id, self._known(frame.device_id), of="frame")
                records.open_frames(keys, header, frames, profile)
        except MetersealError as error:
            chart.wrong("profile", error.message, "frames as LINK section 4 has them", error.code)
        else:
            chart.good("profile", f"Padding, sizes and policy {named.policy} hold.")

    def _spent(self, header: records.Header, named: SessionShown, chart: Chart) -> None:
        if not header.up:
            chart.unchecked("counter", "The record goes down; the module keeps the last counter it took.")
        elif header.counter in CounterSet.from_bytes(named.consumed):
            chart.wrong(
                "counter",
                "This counter was used before: a repeat, a copy, or a module put back to an older state.",
                "an unused counter",
                str(header.counter),
            )
        else:
            chart.good("counter", f"{header.counter} was not used before.")

    # --- frames in clear

    def _frame(self, message: bytes, symptom: Symptom, chart: Chart) -> Diagnosis:
        found = search(message)
        frame = found.frame
        if frame is None:
            fault = found.trial.fault or "wire.no-frame"
            return chart.unreadable(f"No whole frame was found ({fault}); read the meter again.")
        chart.address(frame.device_id, self._known(frame.device_id), of="frame")
        protocol = "dlt645" if symptom.meter[0] == _ELECTRICITY else "cjt188"
        if frame.protocol != protocol:
            chart.wrong(
                "profile", "The meter speaks another protocol than its id says.", protocol, frame.protocol
            )
        else:
            chart.good("profile", f"A whole frame of {protocol}, checksum right.")
        module = self._registry.of_device(symptom.meter)
        if module is None:
            chart.unchecked("module", "The meter has no module in service.")
        else:
            chart.unchecked(
                "module", f"A frame in clear shows no module; enrolled is {module.module_id.hex()}."
            )
        chart.rest("A frame in clear carries no key.")
        return chart.diagnosis("frame")

    def _known(self, device_id: bytes) -> bool:
        return bool(self._registry.all_of(device_id))
