"""The keys doctor on a sealed record: which session, profile, policy or counter of it is wrong.

It shows nothing of what the record says.
"""

from __future__ import annotations

import msgspec

from meterseal.errors import MetersealError, TrustError
from meterseal.link import control, profiles, records
from meterseal.link.counters import CounterSet
from meterseal.link.profiles import SecurityProfile
from meterseal.link.schedule import TrafficKeys
from meterseal.security.chart import Chart
from meterseal.security.datakeys import unwrap_session
from meterseal.security.examining import Examiner
from meterseal.security.neighbours import fit_of, holds_as
from meterseal.security.symptoms import Diagnosis, SessionShown, Symptom, session_named

_PLAIN_ONLY, _CIPHER_ONLY = 0, 2


class RecordDoctor:
    """Looks at records."""

    def __init__(self, examiner: Examiner) -> None:
        self._with = examiner

    def look(self, message: bytes, symptom: Symptom, chart: Chart, now: int) -> Diagnosis:
        """The diagnosis of a record; raises MetersealError for one whose header does not read."""
        if not session_named(message):
            return chart.unreadable("The record ends before its header does; record it again.")
        named = next((one for one in symptom.sessions if one.session_id == session_named(message)), None)
        module = self._with.registry.of_device(symptom.meter)
        if named is None:
            chart.wrong(
                "key version",
                "The session is not stored: it is another system's, or it ended more than 35 days ago.",
                "a session of this meter",
                session_named(message).hex(),
            )
            return chart.diagnosis("record")
        chart.address(named.device_id, self._with.known(named.device_id), of="session")
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
        self._with.certificate(module, chart, now)
        return chart.diagnosis("record")

    def _opened(self, session: SessionShown) -> TrafficKeys | None:
        try:
            packed = unwrap_session(self._with.keys, session.session_id, session.device_id, session.wrapped)
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
                        chart.address(frame.device_id, self._with.known(frame.device_id), of="frame")
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
