"""What is asked of the security service and what it answers: the structs of its SDK, no behaviour.

Ids are bytes in the order of LINK section 1, times Unix milliseconds. An answer that carries a secret does
not print it.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.link.profiles import OURS
from meterseal.link.schedule import TrafficKeys
from meterseal.security.enrolled import DEFAULT_ZONE


class Secret(Struct, frozen=True, kw_only=True):
    """Base of answers that carry a key: they name themselves and show nothing."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class HelloRequest(Struct, frozen=True, kw_only=True):
    """A HELLO as it came, and where from (an address, or a concentrator's id): for the audit log."""

    message: bytes
    source: str = ""

    @property
    def device_id(self) -> bytes:
        """The id that it claims, for the audit log; empty where there is none."""
        return self.message[7:15] if self.message[:4] == b"MS\x01\x01" else b""

    @property
    def module_id(self) -> bytes:
        """The module that it claims."""
        return self.message[15:23] if self.message[:4] == b"MS\x01\x01" else b""


class PlatformReply(Struct, frozen=True, kw_only=True):
    """The PLATFORM message to send, and whom it is for."""

    message: bytes
    session_id: bytes
    device_id: bytes
    module_id: bytes
    suite: int


class DeviceRequest(Struct, frozen=True, kw_only=True):
    """A DEVICE as it came, for the run that its session_id names; `gathered` when a concentrator carried it."""

    session_id: bytes
    message: bytes
    source: str = ""
    gathered: bool = False


class SessionReply(Secret, frozen=True, kw_only=True):
    """The SESSION message, to be sent once the session is stored; the traffic keys, open and wrapped for
    the store.
    """

    message: bytes
    keys: TrafficKeys
    wrapped: bytes
    session_id: bytes
    device_id: bytes
    module_id: bytes
    suite: int
    key_version: int
    records_allowed: int
    seconds_allowed: int
    policy: int
    created_at: int
    profile: str = OURS.name


class UnwrapRequest(Struct, frozen=True, kw_only=True):
    """The wrapped traffic keys of a stored session."""

    session_id: bytes
    device_id: bytes
    wrapped: bytes


class PersonaliseRequest(Struct, frozen=True, kw_only=True):
    """Enrol a module in a device and make what is written into it.

    `module_point` is the SM2 public point (65 bytes) whose private half opens the envelope. Under suite 1
    it is the module's own key, made inside it, and is certified; under suite 2 it belongs to the station
    that writes the module. `policy` and `profile` are what its sessions will grant (LINK section 3); `zone` is what
    limits of commands count by, a pseudonym.
    """

    device_id: bytes
    module_id: bytes
    suite: int
    module_point: bytes
    policy: int = 2
    profile: str = OURS.name
    zone: str = DEFAULT_ZONE


class Personalisation(Struct, frozen=True, kw_only=True):
    """What a module is given at issue.

    `envelope` is SM2 encryption (C1 ‖ C3 ‖ C2) of K_b 16 ‖ K_r 16; `check_value` is that of K_b. `chain` is
    leaf and CA (DER), empty under suite 2. `bound_at` is the first lower bound of time.
    """

    device_id: bytes
    module_id: bytes
    suite: int
    project_id: bytes
    key_version: int
    chain: tuple[bytes, ...]
    root: bytes
    envelope: bytes
    check_value: bytes
    bound_at: int
    profile: str = OURS.name


class PersonaliseBatch(Struct, frozen=True, kw_only=True):
    """Up to 1000 modules at once; all or none."""

    requests: tuple[PersonaliseRequest, ...]


class PersonaliseBatchReply(Struct, frozen=True, kw_only=True):
    """Answers in the order of the requests."""

    answers: tuple[Personalisation, ...]


class LabRequest(Struct, frozen=True, kw_only=True):
    """Enrol a device of a lab project and hand out its keys in clear."""

    device_id: bytes
    module_id: bytes
    suite: int


class LabCredentials(Secret, frozen=True, kw_only=True):
    """DESIGN section 7, `device issue --lab`: DER certificates, K_b, and the device's private number (suite
    1).
    """

    device_id: bytes
    module_id: bytes
    suite: int
    key_version: int
    project_id: bytes
    k_bound: bytes
    root: bytes
    chain: tuple[bytes, ...]
    device_key: bytes


class WithdrawRequest(Struct, frozen=True, kw_only=True):
    """Take a module out of service and revoke its certificate."""

    device_id: bytes
    module_id: bytes


class EvidenceRequest(Struct, frozen=True, kw_only=True):
    """A suite 2 evidence statement and its mac (LINK section 4)."""

    device_id: bytes
    module_id: bytes
    key_version: int
    statement: bytes
    mac: bytes


class EvidenceBatch(Struct, frozen=True, kw_only=True):
    """Up to 1000 statements at once."""

    requests: tuple[EvidenceRequest, ...]


class EvidenceAnswer(Struct, frozen=True, kw_only=True):
    """Whether each statement was made by its module."""

    good: tuple[bool, ...]


class DataKeyRequest(Struct, frozen=True, kw_only=True):
    """A new key for stored data: for one purpose, under a name that its user chooses (never a person's)."""

    purpose: str
    key_id: str


class UnwrapDataKeyRequest(Struct, frozen=True, kw_only=True):
    """A wrapped data key, with the purpose and name that it was made for."""

    purpose: str
    key_id: str
    wrapped: bytes


class DataKey(Secret, frozen=True, kw_only=True):
    """A data key, open for use in memory and wrapped for the disk; `version` is that of the wrapping key."""

    key: bytes
    wrapped: bytes
    version: int


class FactsRequest(Struct, frozen=True, kw_only=True):
    """Ask what is known of a device's module: the one in service, or any it ever had when `module_id` names
    it.
    """

    device_id: bytes
    module_id: bytes = b""


class DeviceFacts(Struct, frozen=True, kw_only=True):
    """A device's module. `chain` is leaf and CA (DER), empty under suite 2."""

    device_id: bytes
    module_id: bytes
    suite: int
    key_version: int
    project_id: bytes
    chain: tuple[bytes, ...]
    state: str
    lab: bool
    enrolled_at: int
    zone: str = DEFAULT_ZONE


class KeyFacts(Struct, frozen=True, kw_only=True):
    """What may be said about a key. `check_value` names it without showing it (LINK section 2)."""

    vault: str
    id: str
    version: int
    parent_version: int
    state: str
    check_value: bytes
    used: int
    limit: int


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One entry. `code` is an act (`security.personalised`) or the code of a refusal; ids are empty where
    none apply.
    """

    at: int
    code: str
    sentence: str
    caller: str = ""
    source: str = ""
    device_id: bytes = b""
    module_id: bytes = b""
    session_id: bytes = b""
    key: str = ""
    officers: tuple[str, ...] = ()
    """Ids of the officers whose signatures an act rests on."""
    refused: bool = False
    unwritten: int = 0
    """How many refusals before this one were counted but not written singly."""


class Chained(Struct, frozen=True, kw_only=True):
    """An entry in its place in the chain."""

    sequence: int
    entry: AuditEntry
    hash: bytes


class AuditState(Struct, frozen=True, kw_only=True):
    """Outcome of `verify_audit`: `broken_at` is the first entry that does not follow, 0 when all do.

    `missing` is how many entries the end of the log has lost.
    """

    entries: int
    broken_at: int
    missing: int

    @property
    def ok(self) -> bool:
        """Whether nothing was changed, removed or lost."""
        return not self.broken_at and not self.missing


class AuditRequest(Struct, frozen=True, kw_only=True):
    """Entries after `since` (a sequence number), oldest first; with `newest` the last `limit` of the log
    instead.
    """

    since: int = 0
    limit: int = 100
    newest: bool = False


class AuditReply(Struct, frozen=True, kw_only=True):
    """Entries of the audit log."""

    entries: tuple[Chained, ...]


class UsageReply(Struct, frozen=True, kw_only=True):
    """Every key of both vaults: state, check value, uses and limit (HM 8.5.3.b), and the modules in
    service.
    """

    keys: tuple[KeyFacts, ...]
    modules: int


class Anchors(Struct, frozen=True, kw_only=True):
    """What a verifier needs: root, the platform's chain, the device CA and the revocation lists (DER)."""

    project_id: bytes
    root: bytes
    platform_chain: tuple[bytes, ...]
    device_ca: bytes
    lists: tuple[bytes, ...]
    lab: bool
