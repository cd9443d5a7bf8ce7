"""One enrolled module as the registry keeps it, and its row in the registry's file.

It stores nothing; `registry` does.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct, structs

from meterseal.crypto.certificates import parse
from meterseal.link import profiles

ModuleState = Literal["active", "withdrawn"]
POLICIES = (0, 1, 2)
"""Plain only, both, cipher only (LINK section 3)."""
CIPHER_ONLY = 2
OUR_PROFILE = profiles.OURS.name
"""Security profile of LINK itself."""
DEFAULT_ZONE = "default"
"""Where a module is that nobody has put anywhere else."""
PROFILES = frozenset(profiles.names())
"""Names of the security profiles that a module may be enrolled with."""


class Module(Struct, frozen=True, kw_only=True):
    """One enrolled module. `point` opens its envelope; `leaf` is its certificate (DER), empty under suite 2.

    `lab` says that its keys were handed out in clear. `policy` and `profile` are what SESSION grants it. `zone` is
    what limits of commands count by, a pseudonym. `renewed` is a newer certificate that it has not shown yet. `until`
    (Unix ms) is the end of `leaf` and `authority` the version of the CA that signed it; both 0 under suite 2.
    """

    device_id: bytes
    module_id: bytes
    suite: int
    key_version: int
    project_id: bytes
    point: bytes
    leaf: bytes
    state: ModuleState
    lab: bool
    enrolled_at: int
    policy: int = CIPHER_ONLY
    profile: str = OUR_PROFILE
    renewed: bytes = b""
    until: int = 0
    authority: int = 0
    zone: str = DEFAULT_ZONE


class Issued(NamedTuple):
    """A certificate as it is recorded: the kind and version of its CA, its DER, and when it was issued."""

    issuer: str
    authority: int
    der: bytes
    at: int


class Gone(Struct, frozen=True, kw_only=True):
    """A module that was taken out of service, in its place in the order of withdrawals."""

    sequence: int
    device_id: bytes
    module_id: bytes
    at: int


COLUMNS = (
    "device_id, module_id, suite, key_version, project_id, point, leaf, state, lab, enrolled_at, policy, "
    "profile, renewed, until, authority, zone"
)
PLACES = ",".join("?" * 16)


def with_end(module: Module, authority: int) -> Module:
    if not module.leaf:
        return module
    return structs.replace(module, until=parse(module.leaf).until, authority=authority)


def module_of(
    row: tuple[
        bytes, bytes, int, int, bytes, bytes, bytes, ModuleState, int, int, int, str, bytes, int, int, str
    ],
) -> Module:
    return Module(
        device_id=row[0],
        module_id=row[1],
        suite=row[2],
        key_version=row[3],
        project_id=row[4],
        point=row[5],
        leaf=row[6],
        state=row[7],
        lab=bool(row[8]),
        enrolled_at=row[9],
        policy=row[10],
        profile=row[11],
        renewed=row[12],
        until=row[13],
        authority=row[14],
        zone=row[15],
    )


def row_of(module: Module) -> tuple[object, ...]:
    return (
        module.device_id,
        module.module_id,
        module.suite,
        module.key_version,
        module.project_id,
        module.point,
        module.leaf,
        module.state,
        int(module.lab),
        module.enrolled_at,
        module.policy,
        module.profile,
        module.renewed,
        module.until,
        module.authority,
        module.zone,
    )
