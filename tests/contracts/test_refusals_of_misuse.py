"""Refusals that no conversation meets, because our own code would have to be wrong first: each by its code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meterseal.crypto import certificates, names, sm2, symmetric
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.issuing import issue_root
from meterseal.crypto.sm2 import ORDER, Sm2PrivateKey
from meterseal.errors import DataError, LocalError, MetersealError, PeerError, TrustError
from meterseal.link import messages
from meterseal.link.counters import MOST_RANGES, CounterSet
from meterseal.security import offline
from tests.crypto.pki import SINCE, UNTIL, Tree

KEY, IV = bytes(16), bytes(16)
SM2_KEY = Sm2PrivateKey.generate("a test's key")


def refused(kind: type[MetersealError], code: str, act: Callable[[], object]) -> None:
    with pytest.raises(kind) as error:
        act()
    assert error.value.code == code
    assert len(error.value.message) > 20


@pytest.mark.parametrize("size", [1, 15, 17, 31])
def test_crypto_blocks_are_whole(size: int) -> None:
    broken = bytes(size)
    for act in (
        lambda: symmetric.sm4_ecb(KEY, broken),
        lambda: symmetric.sm4_ecb_decrypt(KEY, broken),
        lambda: symmetric.sm4_cbc_encrypt(KEY, IV, broken),
        lambda: symmetric.sm4_cbc_decrypt(KEY, IV, broken),
        lambda: symmetric.sm4_cbc_decrypt_all(KEY, IV, [broken]),
    ):
        refused(LocalError, "crypto.blocks", act)


def test_crypto_empty_is_not_encrypted() -> None:
    refused(LocalError, "crypto.empty", lambda: sm2.encrypt(SM2_KEY.public_point, b""))


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_crypto_factor_has_eight_bytes(size: int) -> None:
    key = SymmetricKey.generate("a test's key")
    refused(LocalError, "crypto.factor", lambda: key.diversify(bytes(size), "child"))


@pytest.mark.parametrize("size", [0, 8, 15, 17, 31, 33, 64])
def test_crypto_key_size_is_16_or_32(size: int) -> None:
    refused(LocalError, "crypto.key-size", lambda: SymmetricKey.from_bytes(bytes(size), "a key"))


@pytest.mark.parametrize("kind", ["project", "device", "module"])
def test_crypto_identity_has_the_bytes_of_its_kind(kind: str) -> None:
    for size in (0, 7, 9, 15, 17):
        refused(LocalError, "crypto.identity", lambda size=size: names.uri(kind, bytes(size)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "uri", ["https://example.org", "urn:meterseal:device:0011", "URN:METERSEAL:device:" + "0" * 16]
)
def test_crypto_identity_of_a_leaf_is_one_of_ours(uri: str) -> None:
    tree = Tree()
    refused(
        LocalError,
        "crypto.identity",
        lambda: certificates.issue_leaf(
            tree.device_ca, tree.device_ca_key, point=SM2_KEY.public_point, name="x", purpose="device", uris=[uri],
            since=SINCE, until=UNTIL,
        ),
    )  # fmt: skip


def test_crypto_key_in_pkcs8_is_one() -> None:
    for raw in (b"", b"no key", SM2_KEY.to_pkcs8()[:-1]):
        refused(TrustError, "crypto.key", lambda raw=raw: Sm2PrivateKey.from_pkcs8(raw))


def test_crypto_period_of_a_certificate_is_not_empty() -> None:
    for until in (SINCE, SINCE - 1):
        refused(
            LocalError,
            "crypto.period",
            lambda until=until: issue_root(SM2_KEY, name="root", since=SINCE, until=until),
        )


@pytest.mark.parametrize("scalar", [0, ORDER - 1, ORDER, 2**256 - 1])
def test_crypto_scalar_is_in_range(scalar: int) -> None:
    refused(LocalError, "crypto.scalar", lambda: Sm2PrivateKey.from_scalar(scalar.to_bytes(32, "big")))


@pytest.mark.parametrize("size", [0, -1, 255 * 32 + 1])
def test_crypto_size_of_an_expansion_is_bounded(size: int) -> None:
    refused(LocalError, "crypto.size", lambda: symmetric.hkdf_expand(bytes(32), b"", size))


@pytest.mark.parametrize("count", [0, 1, 3, 255])
def test_link_chain_shape_is_leaf_and_ca(count: int) -> None:
    cells = b"".join((4).to_bytes(2, "big") + b"cert" for _ in range(count))
    payload = bytes((count,)) + cells + os.urandom(64 + 32)
    refused(PeerError, "link.chain-shape", lambda: messages.parse_credential(payload, 1))


def spans(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(6, "big") for number in numbers)


@pytest.mark.parametrize(
    "stored",
    [
        b"\x00", spans(1), spans(0, 4), spans(5, 4), spans(4, 6, 5, 9), spans(1, 4, 5, 9), spans(7, 9, 1, 2),
        spans(1, 2, 4)[:-1], b"".join(spans(at, at) for at in range(1, 2 * MOST_RANGES + 3, 2)),
    ],
    ids=["a byte", "half", "zero", "falling", "overlap", "touching", "not rising", "cut", "too many"],
)  # fmt: skip
def test_link_counters_in_the_store_are_rising_ranges(stored: bytes) -> None:
    refused(DataError, "link.counters", lambda: CounterSet.from_bytes(stored))


def test_link_counters_that_a_set_wrote_are_read() -> None:
    stored = spans(1, 4, 6, 6, 9, 2**48 - 1)
    assert CounterSet.from_bytes(stored).to_bytes() == stored
    full = b"".join(spans(at, at) for at in range(1, 2 * MOST_RANGES, 2))
    assert CounterSet.from_bytes(full).to_bytes() == full


def test_security_offline_root_is_there_and_whole(tmp_path: Path) -> None:
    refused(LocalError, "security.offline", lambda: offline.open_single(tmp_path, b"a passphrase"))
    (tmp_path / offline.FILE).write_bytes(b"damaged")
    refused(LocalError, "security.offline", lambda: offline.open_single(tmp_path, b"a passphrase"))
