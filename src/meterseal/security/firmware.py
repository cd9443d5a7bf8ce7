"""Manifests of firmware at the security service: who released an image, then the signature that modules verify.

It keeps no image and no list; the platform does, and the module has the last word.

Security argument: nothing that a platform says is believed. A manifest is signed only where it stands in a list that two
different officers with the role `command` signed with keys of this service's own register, byte for byte; what the list's
other keys say counts for nothing here. So whoever holds the platform, and the online keys of its repository, releases
nothing. A manifest that was signed is the same statement however often it is asked for, so there is nothing to use up: it
ends by its own time, and by the certificate of the key that signed it, thirty days at most. The key is the one by which
modules know the platform, under a label of its own, so that no signature of a handshake is one over firmware.
"""

from __future__ import annotations

from meterseal.errors import LocalError, TrustError
from meterseal.link import firmware
from meterseal.link.firmware import read_manifest
from meterseal.security.firmwareorders import TARGETS, Release, Released, manifest_of, read_targets
from meterseal.security.officers import Officers
from meterseal.security.pki import Pki

PEOPLE = 2


class Releasing:
    """Signs manifests of one project."""

    def __init__(self, pki: Pki, officers: Officers, project_id: bytes) -> None:
        self._pki, self._officers, self._project_id = pki, officers, project_id

    def sign(self, asked: Release, now: int) -> Released:
        """The signed manifest of one released image.

        TrustError of `Officers.check`, `security.project`, `security.expired`; LocalError `security.request`,
        `security.firmware`.
        """
        people = self._officers.check(TARGETS, asked.targets, asked.signatures, "command", PEOPLE)
        target = read_targets(asked.targets).targets.get(asked.name)
        if target is None:
            raise LocalError(
                "security.firmware", "The officers' list does not name this image; nothing was signed."
            )
        raw = manifest_of(target)
        manifest = read_manifest(raw)
        if manifest.project_id != self._project_id:
            raise TrustError("security.project", "The firmware is for another project; nothing was signed.")
        if manifest.until <= now:
            raise TrustError(
                "security.expired", "The time of this release is over; let officers release it again."
            )
        identity = self._pki.platform(now)
        signature = self._pki.sign(identity, firmware.LABEL + raw)
        until = min(identity.until, manifest.until)
        return Released(manifest=raw, signature=signature, chain=identity.chain, officers=people, until=until)
