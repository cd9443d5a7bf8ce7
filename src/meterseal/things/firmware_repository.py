"""The platform's repository of firmware: released images and what vouches for them, as TUF says (ADR 0030).

It releases nothing by itself: root and targets are signed by two officers each, with the SM2 keys that the security
service knows them by; the key that lies here signs only that the list is the newest (snapshot, timestamp). What is read is
read through python-tuf's client, which begins at the first root that was adopted here and refuses what is rolled back,
mixed, expired, endless or altered. So who can write the directory, or steals the key that lies here, may withhold releases
for a day, until the timestamp ends, and release none.

    metadata/N.root.json  N.targets.json  N.snapshot.json  timestamp.json     consistent snapshots
    images/SHA256.NAME                                                        images, released or waiting
    trusted/                                                                  what the client saw last, and the first root
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from meterseal.errors import DataError, LocalError
from meterseal.link.firmware import MOST_BLOCKS, SIZE
from meterseal.security.orders import OfficerSignature
from meterseal.things.firmware_metadata import (
    SM2,
    Sm2Key,
    canonical,
    disk,
    ends,
    half_over,
    load,
    read,
    stale,
    unsigned,
    with_signatures,
)

if TYPE_CHECKING:
    from meterseal.things.firmware_client import Client

PEOPLE = 2


class Repository:
    """One project's repository in a directory; `online` signs that a list is the newest."""

    def __init__(self, directory: Path, online: CryptoSigner) -> None:
        self._metadata, self._images = directory / "metadata", directory / "images"
        self._trusted = directory / "trusted"
        self._online = online

    # --- who may release ------------------------------------------------------------------------------------

    def root_draft(self, officers: Mapping[str, bytes], now: int) -> bytes:
        """What officers sign to become those who release: ids with public points. LocalError `firmware.officers`."""
        if len(officers) < PEOPLE:
            raise LocalError(
                "firmware.officers",
                "Firmware is released by two officers with the role command; name them first.",
            )
        before = self._root()
        keys: dict[str, Key] = {
            name: Sm2Key(name, *SM2, {"public": point.hex()}) for name, point in sorted(officers.items())
        }
        online = self._online.public_key
        offline = [*keys]
        roles = {
            Root.type: Role(offline, PEOPLE),
            Targets.type: Role(offline, PEOPLE),
            Snapshot.type: Role([online.keyid], 1),
            Timestamp.type: Role([online.keyid], 1),
        }
        made = Root(
            version=1 + (before.signed.version if before is not None else 0),
            expires=ends(Root.type, now),
            keys={**keys, online.keyid: online},
            roles=roles,
            consistent_snapshot=True,
        )
        return canonical(made)

    def adopt_root(self, raw: bytes, signatures: Sequence[OfficerSignature], now: int) -> int:
        """Take up a root that two of its officers, and two of the one before, signed; its version.

        TrustError `firmware.signatures`, DataError `firmware.order` for one that does not follow.
        """
        made: Root = read(Root, raw)
        metadata = with_signatures(made, signatures)
        before = self._root()
        if made.version != 1 + (before.signed.version if before is not None else 0):
            raise stale("a change of who releases")
        try:
            made.verify_delegate(Root.type, raw, metadata.signatures)
            if before is not None:
                before.signed.verify_delegate(Root.type, raw, metadata.signatures)
        except RepositoryError:
            raise unsigned() from None
        if made.roles[Timestamp.type].keyids != [self._online.public_key.keyid]:
            raise stale("a change of who releases")
        if before is None:
            _put(self._trusted / "first.json", metadata.to_bytes())
        _put(self._metadata / f"{made.version}.root.json", metadata.to_bytes())
        if self._targets() is not None:
            self._publish(now, anew=True)
        return int(made.version)

    @property
    def founded(self) -> bool:
        """Is there anybody who may release?"""
        return self._root() is not None

    # --- images ---------------------------------------------------------------------------------------------

    def put_image(self, name: str, image: bytes) -> None:
        """Keep an image that waits for its release."""
        _put(self._images / f"{hashlib.sha256(image).hexdigest()}.{name}", image)

    def kept(self, name: str) -> Iterator[bytes]:
        """The images that were kept under this name, unverified."""
        for path in self._images.glob(f"*.{name}"):
            yield path.read_bytes()

    def targets_draft(
        self, add: Mapping[str, tuple[bytes, dict[str, str]]], remove: Sequence[str], now: int
    ) -> bytes:
        """What officers sign to release images (name: image, custom) beside those that are, and to end some."""
        before = self._targets()
        kept = dict(before.signed.targets) if before is not None else {}
        for name in remove:
            kept.pop(name, None)
        for name, (image, custom) in add.items():
            digest = hashlib.sha256(image).hexdigest()
            kept[name] = TargetFile(len(image), {"sha256": digest}, name, {"custom": custom})
        made = Targets(
            version=1 + (before.signed.version if before is not None else 0),
            expires=ends(Targets.type, now),
            targets=kept,
        )
        return canonical(made)

    def adopt_targets(self, raw: bytes, signatures: Sequence[OfficerSignature], now: int) -> Targets:
        """Take up a list that two officers signed. TrustError `firmware.signatures`, DataError `firmware.order`."""
        root = self._root()
        made: Targets = read(Targets, raw)
        before = self._targets()
        if root is None or made.version != 1 + (before.signed.version if before is not None else 0):
            raise stale("a list of releases")
        metadata = with_signatures(made, signatures)
        try:
            root.signed.verify_delegate(Targets.type, raw, metadata.signatures)
        except RepositoryError:
            raise unsigned() from None
        _put(self._metadata / f"{made.version}.targets.json", metadata.to_bytes())
        self._publish(now, anew=True)
        return made

    def refresh(self, now: int) -> None:
        """Say again that the list is the newest, once half the time of a timestamp is over."""
        if self._root() is not None and self._targets() is not None:
            self._publish(now, anew=False)

    # --- reading --------------------------------------------------------------------------------------------

    def signed_targets(self, now: int) -> tuple[bytes, tuple[OfficerSignature, ...]]:
        """The verified list in the bytes that officers signed, and their signatures. TrustError `firmware.repository`."""
        with self._client(now):
            kept = (self._trusted / "targets.json").read_bytes()
        metadata: Metadata[Targets] = Metadata.from_bytes(kept)
        return canonical(metadata.signed), tuple(
            OfficerSignature(one.keyid, bytes.fromhex(one.signature)) for one in metadata.signatures.values()
        )

    def image(self, name: str, now: int) -> bytes:
        """A released image, verified. TrustError `firmware.repository`, DataError `firmware.unknown`."""
        with self._client(now) as client, tempfile.TemporaryDirectory() as place:
            info = client.get_targetinfo(name)
            if info is None:
                raise DataError(
                    "firmware.unknown", f"No firmware {name} is released; see: meterseal firmware list"
                )
            path = client.download_target(info, str(Path(place) / "image"))
            return Path(path).read_bytes()

    def _client(self, now: int) -> Client:
        from meterseal.things.firmware_client import Client  # brings a web client, and only releases need it

        first = self._trusted / "first.json"
        if not first.exists():
            raise LocalError(
                "firmware.officers",
                "Nobody may release firmware yet. Let two officers sign who may: meterseal firmware officers",
            )
        return Client(first.read_bytes(), self._trusted, self._metadata, self._images, now)

    # --- what the online key says ---------------------------------------------------------------------------

    def _publish(self, now: int, *, anew: bool) -> None:
        """Snapshot and timestamp of the newest list."""
        targets, snapshot, timestamp = self._targets(), self._newest(Snapshot), self._timestamp()
        assert targets is not None
        named = (
            snapshot is not None and snapshot.signed.meta["targets.json"].version == targets.signed.version
        )
        if snapshot is None or anew or not named or half_over(snapshot.signed, now):
            version = 1 + (snapshot.signed.version if snapshot is not None else 0)
            meta = {"targets.json": MetaFile(targets.signed.version)}
            snapshot = Metadata(Snapshot(version, expires=ends(Snapshot.type, now), meta=meta))
            snapshot.sign(self._online)
            _put(self._metadata / f"{version}.snapshot.json", snapshot.to_bytes())
        known = timestamp is not None and timestamp.signed.snapshot_meta.version == snapshot.signed.version
        if timestamp is None or anew or not known or half_over(timestamp.signed, now):
            version = 1 + (timestamp.signed.version if timestamp is not None else 0)
            meta_file = MetaFile(snapshot.signed.version)
            stamp = Metadata(Timestamp(version, expires=ends(Timestamp.type, now), snapshot_meta=meta_file))
            stamp.sign(self._online)
            _put(self._metadata / "timestamp.json", stamp.to_bytes())

    def _root(self) -> Metadata[Root] | None:
        return self._newest(Root)

    def _targets(self) -> Metadata[Targets] | None:
        return self._newest(Targets)

    def _timestamp(self) -> Metadata[Timestamp] | None:
        path = self._metadata / "timestamp.json"
        return load(path) if path.exists() else None

    def _newest(self, kind: type[Any]) -> Metadata[Any] | None:
        found = sorted(
            int(path.name.partition(".")[0])
            for path in self._metadata.glob(f"*.{kind.type}.json")
            if path.name.partition(".")[0].isdecimal()
        )
        return load(self._metadata / f"{found[-1]}.{kind.type}.json") if found else None


def _put(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all. EngineError `firmware.disk`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.new")
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise disk(error) from None


LARGEST = MOST_BLOCKS * SIZE
"""Most bytes of an image."""
