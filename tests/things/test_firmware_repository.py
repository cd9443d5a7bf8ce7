"""The repository of firmware: what is released is what two officers signed, whatever happens to its directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError, LocalError, MetersealError, TrustError
from meterseal.security.firmwareorders import PURPOSES, names, says
from meterseal.security.orders import OfficerSignature, sign
from meterseal.things.firmware_metadata import LIFE, ends
from meterseal.things.firmware_repository import Repository

NOW = 1_779_200_000_000
DAY = 86_400_000
NAME, OTHER = "water-generic-h1-v2.img", "water-generic-h1-v3.img"
CUSTOM = {"manifest": "00", "reason": "a test"}
ROOT, TARGETS = PURPOSES


class Officers:
    """Li and Wang release firmware; Zhou does not yet."""

    def __init__(self) -> None:
        self.keys = {name: Sm2PrivateKey.generate(name) for name in ("li", "wang", "zhou", "chen")}

    def points(self, *names: str) -> dict[str, bytes]:
        return {name: self.keys[name].public_point for name in names}

    def sign(self, purpose: str, raw: bytes, *names: str) -> tuple[OfficerSignature, ...]:
        return tuple(sign(name, self.keys[name], purpose, raw) for name in names)


@pytest.fixture(scope="module")
def officers() -> Officers:
    return Officers()


class Stand:
    """A repository with image 2 released, and the key that lies beside it."""

    def __init__(self, place: Path, officers: Officers) -> None:
        self.place, self.officers = place, officers
        self.online = CryptoSigner.generate_ed25519()
        self.repository = Repository(place, self.online)
        raw = self.repository.root_draft(officers.points("li", "wang"), NOW)
        self.repository.adopt_root(raw, officers.sign(ROOT, raw, "li", "wang"), NOW)
        self.release(NAME, b"image 2")

    def release(self, name: str, image: bytes, now: int = NOW) -> None:
        self.repository.put_image(name, image)
        raw = self.repository.targets_draft({name: (image, CUSTOM)}, [], now)
        self.repository.adopt_targets(raw, self.officers.sign(TARGETS, raw, "li", "wang"), now)

    def refused(self, now: int = NOW, name: str = NAME) -> str:
        with pytest.raises(TrustError) as caught:
            self.repository.image(name, now)
        assert caught.value.code == "firmware.repository"
        return caught.value.message

    def file(self, name: str) -> Path:
        return self.place / "metadata" / name

    def stamp(self, snapshot: Metadata[Snapshot], version: int, now: int = NOW) -> None:
        """What a thief of the online key can sign."""
        snapshot.sign(self.online)
        self.file(f"{snapshot.signed.version}.snapshot.json").write_bytes(snapshot.to_bytes())
        meta = MetaFile(snapshot.signed.version)
        made = Metadata(Timestamp(version, expires=ends("timestamp", now), snapshot_meta=meta))
        made.sign(self.online)
        self.file("timestamp.json").write_bytes(made.to_bytes())


@pytest.fixture
def stand(tmp_path: Path, officers: Officers) -> Stand:
    made = Stand(tmp_path / "firmware", officers)
    assert made.repository.image(NAME, NOW) == b"image 2"
    return made


def test_a_list_is_read_back_in_the_bytes_and_with_the_signatures_of_the_officers(stand: Stand) -> None:
    stand.release(OTHER, b"image 3")
    raw, signatures = stand.repository.signed_targets(NOW)
    assert {one.officer for one in signatures} == {"li", "wang"}
    assert json.loads(raw)["version"] == 2
    assert set(json.loads(raw)["targets"]) == {NAME, OTHER}
    assert stand.repository.image(OTHER, NOW) == b"image 3"
    again = Repository(stand.place, stand.online)
    assert again.image(NAME, NOW) == b"image 2"


@pytest.mark.parametrize("who", [("li",), ("li", "li"), ("li", "zhou"), ()])
def test_one_officer_only_releases_nothing(stand: Stand, who: tuple[str, ...]) -> None:
    raw = stand.repository.targets_draft({OTHER: (b"image 3", CUSTOM)}, [], NOW)
    with pytest.raises(TrustError) as caught:
        stand.repository.adopt_targets(raw, stand.officers.sign(TARGETS, raw, *who), NOW)
    assert caught.value.code == "firmware.signatures"
    with pytest.raises(DataError):
        stand.repository.image(OTHER, NOW)


def test_a_signature_for_another_purpose_releases_nothing(stand: Stand) -> None:
    raw = stand.repository.targets_draft({OTHER: (b"image 3", CUSTOM)}, [], NOW)
    with pytest.raises(TrustError):
        stand.repository.adopt_targets(raw, stand.officers.sign("command", raw, "li", "wang"), NOW)


def test_a_stolen_online_key_releases_nothing(stand: Stand) -> None:
    forged = Metadata(
        Targets.from_dict(json.loads(stand.repository.targets_draft({OTHER: (b"evil", CUSTOM)}, [], NOW)))
    )
    forged.sign(stand.online)
    stand.repository.put_image(OTHER, b"evil")
    stand.file("2.targets.json").write_bytes(forged.to_bytes())
    snapshot = Metadata(Snapshot(7, expires=ends("snapshot", NOW), meta={"targets.json": MetaFile(2)}))
    stand.stamp(snapshot, 7)
    assert "UnsignedMetadata" in stand.refused(name=OTHER)


def test_a_stolen_online_key_names_nobody_who_may_release(stand: Stand) -> None:
    thief = Sm2PrivateKey.generate("a thief")
    raw = stand.repository.root_draft({"li": thief.public_point, "wang": thief.public_point}, NOW)
    forged = (sign("li", thief, ROOT, raw), sign("wang", thief, ROOT, raw))
    with pytest.raises(TrustError):
        stand.repository.adopt_root(raw, forged, NOW)


def test_rollback_to_an_older_list_is_noticed(stand: Stand) -> None:
    shutil.copytree(stand.place / "metadata", stand.place / "older")
    stand.release(OTHER, b"image 3")
    assert stand.repository.image(OTHER, NOW) == b"image 3"
    shutil.rmtree(stand.place / "metadata")
    shutil.copytree(stand.place / "older", stand.place / "metadata")
    assert "BadVersionNumber" in stand.refused()
    snapshot = Metadata(Snapshot(9, expires=ends("snapshot", NOW), meta={"targets.json": MetaFile(1)}))
    stand.stamp(snapshot, 9)
    assert "BadVersionNumber" in stand.refused(), "the stolen online key rolls nothing back either"


def test_freeze_an_expired_timestamp_is_noticed(stand: Stand) -> None:
    later = NOW + LIFE["timestamp"].days * DAY
    assert "ExpiredMetadata" in stand.refused(later + 1000)
    stand.repository.refresh(later)
    assert stand.repository.image(NAME, later + 1000) == b"image 2"


def test_freeze_a_list_that_no_officer_renewed_ends(stand: Stand) -> None:
    later = NOW + (LIFE["targets"].days + 1) * DAY
    stand.repository.refresh(later)
    assert "ExpiredMetadata" in stand.refused(later)
    stand.release(OTHER, b"image 3", later)
    assert stand.repository.image(NAME, later) == b"image 2"


def test_mix_and_match_of_two_lists_is_noticed(stand: Stand) -> None:
    one = stand.file("1.targets.json").read_bytes()
    stand.release(OTHER, b"image 3")
    stand.file("2.targets.json").write_bytes(one)
    assert "BadVersionNumber" in stand.refused()


def test_an_altered_or_exchanged_image_is_noticed(stand: Stand) -> None:
    (path,) = (stand.place / "images").glob(f"*.{NAME}")
    path.write_bytes(b"image X")
    assert "LengthOrHashMismatch" in stand.refused()


def test_endless_data_is_bounded(stand: Stand) -> None:
    (path,) = (stand.place / "images").glob(f"*.{NAME}")
    with path.open("wb") as file:
        file.truncate(1 << 33)
    assert "Mismatch" in stand.refused()
    with stand.file("timestamp.json").open("wb") as file:
        file.truncate(1 << 33)
    assert "Mismatch" in stand.refused()


def test_a_missing_file_is_a_refusal_and_no_fault(stand: Stand) -> None:
    stand.file("timestamp.json").unlink()
    stand.refused()


def test_who_may_release_changes_only_by_two_before_and_two_after(stand: Stand) -> None:
    raw = stand.repository.root_draft(stand.officers.points("zhou", "chen"), NOW)
    for who in (("zhou", "chen"), ("li", "wang"), ("li", "wang", "zhou")):
        with pytest.raises(TrustError):
            stand.repository.adopt_root(raw, stand.officers.sign(ROOT, raw, *who), NOW)
    everybody = stand.officers.sign(ROOT, raw, "li", "wang", "zhou", "chen")
    assert stand.repository.adopt_root(raw, everybody, NOW) == 2
    stand.repository.put_image(OTHER, b"image 3")
    draft = stand.repository.targets_draft({OTHER: (b"image 3", CUSTOM)}, [], NOW)
    with pytest.raises(TrustError):
        stand.repository.adopt_targets(draft, stand.officers.sign(TARGETS, draft, "li", "wang"), NOW)
    stand.repository.adopt_targets(draft, stand.officers.sign(TARGETS, draft, "zhou", "chen"), NOW)
    assert stand.repository.image(OTHER, NOW) == b"image 3"
    with pytest.raises(DataError):
        stand.repository.adopt_root(raw, everybody, NOW)


def test_metadata_that_is_none_or_not_the_next_is_refused(stand: Stand) -> None:
    raw, signatures = stand.repository.signed_targets(NOW)
    for other in (raw, b"", b"{}", b"[]", raw + b" ", b"x" * ((1 << 20) + 1)):
        with pytest.raises(DataError):
            stand.repository.adopt_targets(other, signatures, NOW)
        with pytest.raises(DataError):
            stand.repository.adopt_root(other, signatures, NOW)


def test_a_cut_between_list_and_snapshot_is_made_good(stand: Stand) -> None:
    raw = stand.repository.targets_draft({OTHER: (b"image 3", CUSTOM)}, [], NOW)
    before = {path: path.read_bytes() for path in (stand.place / "metadata").iterdir()}
    stand.repository.put_image(OTHER, b"image 3")
    stand.repository.adopt_targets(raw, stand.officers.sign(TARGETS, raw, "li", "wang"), NOW)
    for path in (stand.place / "metadata").iterdir():
        if path.name != "2.targets.json":
            path.write_bytes(before[path]) if path in before else path.unlink()
    stand.repository.refresh(NOW)
    assert stand.repository.image(OTHER, NOW) == b"image 3"


def test_nobody_may_release_before_two_officers_are_settled(tmp_path: Path, officers: Officers) -> None:
    empty = Repository(tmp_path, CryptoSigner.generate_ed25519())
    with pytest.raises(LocalError):
        empty.image(NAME, NOW)
    with pytest.raises(LocalError):
        empty.root_draft(officers.points("li"), NOW)
    raw = empty.targets_draft({}, [], NOW)
    with pytest.raises(MetersealError):
        empty.adopt_targets(raw, (), NOW)


def test_what_officers_read_before_they_sign_comes_from_the_bytes(stand: Stand) -> None:
    raw = stand.repository.root_draft(stand.officers.points("li", "zhou"), NOW)
    keys = {
        name: sm3(point.hex().encode())[:8].hex()
        for name, point in stand.officers.points("li", "zhou").items()
    }
    assert names(raw, "li", stand.officers.keys["li"].public_point)
    assert names(raw, "wang", stand.officers.keys["wang"].public_point), "who is not in it may still sign"
    assert not names(raw, "zhou", stand.officers.keys["li"].public_point)
    assert says(TARGETS, stand.repository.targets_draft({}, [NAME], NOW))["images"] == 0, (
        "a list of none says so"
    )
    assert says(ROOT, raw)["targets"] == f"2 of li ({keys['li']}), zhou ({keys['zhou']})"
