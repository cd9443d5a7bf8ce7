"""The key tree of LINK section 2: from one random root to the keys of each meter (一表一密).

It gives handles to the acts of the security service and lets none of these keys out; `personalise` alone
seals two of them into a module's envelope.

Levels 1 to 4 lie in vault *keys*, the keys of a module are computed when they are needed. The purposes of a
module's keys are separated by their last factor, so what one purpose shows says nothing about another.
"""

from __future__ import annotations

from typing import Literal

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, TrustError
from meterseal.security.vault import GCM_LIMIT, Vault

Purpose = Literal["AUTH0001", "LINK0001", "CMND0001", "EVID0001"]
DIAK_LIMIT = 10**9
"""Uses of one DIAK version before it must be replaced: a city of a million meters for three years, daily."""

MOST_VERSIONS = 255


def project_factors(project_id: bytes) -> tuple[bytes, bytes]:
    """Region code, and domain ‖ business ‖ project number, 8 bytes each (HM 8.4.2)."""
    return project_id[:8], project_id[8:]


def plant(vault: Vault, project_id: bytes) -> None:
    """First start: ROOT from the operating system, and the levels below it for one project."""
    region_code, project_code = project_factors(project_id)
    root = SymmetricKey.generate("ROOT version 1")
    region = root.diversify(region_code, "REGION version 1")
    project = region.diversify(project_code, "PROJECT version 1")
    for key_id, key in (("ROOT", root), ("REGION", region), ("PROJECT", project)):
        vault.add(key_id, 1, key, parent_version=0 if key_id == "ROOT" else 1)
    vault.add("DIAK", 1, _diak(project, 1), parent_version=1, limit=DIAK_LIMIT)
    vault.add("MROOT", 1, _mroot(project), parent_version=1)
    for key_id in ("WRAP-SESSION", "WRAP-DATA"):
        vault.add(key_id, 1, SymmetricKey.generate(f"{key_id} version 1"), limit=GCM_LIMIT)
    vault.add("AUDIT", 1, SymmetricKey.generate("AUDIT version 1"))
    plant_acts(vault)


def plant_acts(vault: Vault) -> None:
    """The key of the book of acts, also for a vault from before there was one."""
    vault.add("ACTS", 1, SymmetricKey.generate("ACTS version 1"))


def renew_diak(vault: Vault) -> int:
    """A new version of DIAK from PROJECT for modules to move to; the versions before serve on, retiring.

    Returns its number. LocalError `security.version` after version 255: a key version is one byte.
    """
    before = [facts for facts in vault.all_facts() if facts.id == "DIAK"]
    version = 1 + max(facts.version for facts in before)
    if version > MOST_VERSIONS:
        raise LocalError(
            "security.version", "A key version is one byte, and 255 are used; set up a new project."
        )
    vault.add(
        "DIAK", version, _diak(vault.symmetric("PROJECT", 1), version), parent_version=1, limit=DIAK_LIMIT
    )
    for facts in before:
        if facts.state == "active":
            vault.set_state("DIAK", facts.version, "retiring")
    return version


class KeyTree:
    """The keys of one project's modules, computed from an open vault."""

    def __init__(self, vault: Vault, project_id: bytes) -> None:
        self._vault = vault
        self._check(project_id)

    @property
    def key_version(self) -> int:
        """The DIAK version that new modules get."""
        return self._vault.newest("DIAK")

    def bound(self, device_id: bytes, module_id: bytes, version: int) -> SymmetricKey:
        """K_b; TrustError `security.no-key` for a version that is not there, `security.key-state` for a
        withdrawn one.
        """
        label = f"K_b of module {module_id.hex()}"
        return self._vault.symmetric("DIAK", version).diversify(device_id, label).diversify(module_id, label)

    def module_root(self, device_id: bytes, module_id: bytes) -> SymmetricKey:
        """K_r, which protects key updates alone."""
        label = f"K_r of module {module_id.hex()}"
        return self._vault.symmetric("MROOT", 1).diversify(device_id, label).diversify(module_id, label)

    def update_key(self, device_id: bytes, module_id: bytes) -> SymmetricKey:
        """K_updt, under which a module is sent a new bound key."""
        label = f"K_updt of module {module_id.hex()}"
        return self.module_root(device_id, module_id).diversify(b"UPDT0001", label)

    def purpose(self, device_id: bytes, module_id: bytes, version: int, purpose: Purpose) -> SymmetricKey:
        """A level 7 key of a module's slot `version`: K_auth, K_link, K_cmnd or K_evid."""
        bound = self.bound(device_id, module_id, version)
        return bound.diversify(purpose.encode(), f"{purpose} of module {module_id.hex()}")

    def _check(self, project_id: bytes) -> None:
        """That the stored levels follow from each other: a swapped or foreign record is found at start."""
        region_code, project_code = project_factors(project_id)
        expected = {"MROOT": _mroot(self._vault.symmetric("PROJECT", 1))}
        if self._vault.facts("REGION", 1).state != "destroyed":  # with a quorum the top lies offline
            expected["PROJECT"] = self._vault.symmetric("REGION", 1).diversify(project_code, "check")
        if self._vault.facts("ROOT", 1).state != "destroyed":
            expected["REGION"] = self._vault.symmetric("ROOT", 1).diversify(region_code, "check")
        version = self._vault.newest("DIAK")
        if self._vault.facts("DIAK", version).parent_version:  # an imported one follows from nothing here
            expected["DIAK"] = _diak(self._vault.symmetric("PROJECT", 1), version)
        for key_id, key in expected.items():
            stored = self._vault.facts(key_id, version if key_id == "DIAK" else 1)
            if not equal(stored.check_value, key.check_value()):
                raise TrustError(
                    "security.key-tree",
                    f"{key_id} does not follow from its parent for this project; the vault belongs to "
                    "another project or "
                    "was changed. Restore it from a backup.",
                )


def _diak(project: SymmetricKey, version: int) -> SymmetricKey:
    return project.diversify(b"DIAK\x00\x00\x00" + version.to_bytes(1), f"DIAK version {version}")


def _mroot(project: SymmetricKey) -> SymmetricKey:
    return project.diversify(b"MROOT\x00\x00\x00", "MROOT version 1")
