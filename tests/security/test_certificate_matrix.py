"""T9: every certificate that is wrong in one way, at the service and through the head-end: refused, the right reason in
the audit log, the same silence on the wire; SM2 here, P-256 in `tests/mesh/test_certificate_matrix.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from msgspec import structs

from meterseal.crypto import issuing
from meterseal.crypto.names import USAGE, uri
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import TrustError
from meterseal.headend.cookies import Cookies
from meterseal.headend.handshakes import Handshakes
from meterseal.headend.pipeline import Arrival
from meterseal.headend.sessions import SessionCache
from meterseal.link.identities import check_platform_chain
from meterseal.security.pki import Pki
from tests.headend.ground import Line, Platform

from .conftest import DAY, NOW, PROJECT, Bench, Module

SINCE, UNTIL = NOW - DAY, NOW + 900 * DAY
CA = [("basicConstraints", "critical,CA:TRUE,pathlen:0"), ("keyUsage", "critical,keyCertSign,cRLSign")]


class Maker:
    """Our own CA keys, in hands that issue what no rule of ours allows."""

    def __init__(self, pki: Pki, purpose: str, names: list[str], point: bytes) -> None:
        vault = pki._vault
        self.purpose, self.point = purpose, point
        self.ca = pki.chain(purpose)  # type: ignore[arg-type]
        self.ca_key = vault.signing("DEVICE-CA" if purpose == "device" else "PLATFORM-CA", 1)
        self.usage = USAGE[purpose]  # type: ignore[index]
        self.names = names
        self.root_key = Sm2PrivateKey.generate("another root")
        self.other_root = issuing.issue_root(self.root_key, name="meterseal root", since=SINCE, until=UNTIL)

    def leaf(
        self,
        *,
        ca: bytes | None = None,
        key: Sm2PrivateKey | None = None,
        since: int = SINCE,
        until: int = NOW + 20 * DAY,
        shape: str = "critical,CA:FALSE",
        use: str = "critical,digitalSignature",
        usage: str | None = None,
        names: list[str] | None = None,
        more: list[tuple[str, str]] | None = None,
        point: bytes | None = None,
    ) -> bytes:
        extensions = [
            ("basicConstraints", shape),
            ("keyUsage", use),
            ("extendedKeyUsage", f"critical,{self.usage if usage is None else usage}"),
            ("subjectAltName", ",".join(f"URI:{one}" for one in (self.names if names is None else names))),
            *(more or []),
        ]
        return issuing._issue(
            key or self.ca_key, ca or self.ca, point or self.point, "a leaf", extensions, since, until
        )

    def authority(
        self,
        key: Sm2PrivateKey,
        *,
        by: bytes,
        by_key: Sm2PrivateKey,
        extensions: list[tuple[str, str]] | None = None,
        name: str = "an authority",
    ) -> bytes:
        made = extensions or [*CA, ("extendedKeyUsage", f"critical,{self.usage}")]
        return issuing._issue(by_key, by, key.public_point, name, made, SINCE, UNTIL)


Make = Callable[[Maker], list[bytes]]


def under_a_leaf(m: Maker) -> list[bytes]:
    inner = Sm2PrivateKey.generate("a leaf that plays CA")
    middle = m.leaf(point=inner.public_point)
    return [m.leaf(ca=middle, key=inner), middle]


def under_a_long_path(m: Maker) -> list[bytes]:
    """CA → intermediate → leaf, with the intermediate in the CA's place."""
    inner = Sm2PrivateKey.generate("an intermediate")
    middle = m.authority(inner, by=m.ca, by_key=m.ca_key)
    return [m.leaf(ca=middle, key=inner), middle]


def with_an_extra_intermediate(m: Maker) -> list[bytes]:
    chain = under_a_long_path(m)
    return [*chain, m.ca]


def under_another_root(m: Maker) -> list[bytes]:
    key = Sm2PrivateKey.generate("a foreign CA")
    ca = m.authority(key, by=m.other_root, by_key=m.root_key, name="meterseal device CA")
    return [m.leaf(ca=ca, key=key), ca]


def under_a_ca_without_length(m: Maker) -> list[bytes]:
    key = Sm2PrivateKey.generate("a CA without pathLen")
    loose = [("basicConstraints", "critical,CA:TRUE"), CA[1], ("extendedKeyUsage", f"critical,{m.usage}")]
    ca = m.authority(key, by=m.other_root, by_key=m.root_key, extensions=loose)
    return [m.leaf(ca=ca, key=key), ca]


def forged(m: Maker) -> list[bytes]:
    """The right CA's name over another key's signature."""
    return [m.leaf(key=Sm2PrivateKey.generate("a forger")), m.ca]


def flipped(m: Maker) -> list[bytes]:
    leaf = m.leaf()
    return [leaf[:-1] + bytes((leaf[-1] ^ 1,)), m.ca]


MATRIX: dict[str, tuple[Make, str]] = {
    "expired": (lambda m: [m.leaf(since=NOW - 9 * DAY, until=NOW - 2 * DAY), m.ca], "ended"),
    "wrong usage": (lambda m: [m.leaf(usage=USAGE["ledger"]), m.ca], "usage"),
    "two usages": (lambda m: [m.leaf(usage=f"{m.usage},{USAGE['ledger']}"), m.ca], "usage"),
    "server usage": (lambda m: [m.leaf(usage="serverAuth"), m.ca], "usage"),
    "wrong CA": (under_another_root, "root"),
    "CA:FALSE issuer": (under_a_leaf, "CA"),
    "path length": (under_a_long_path, "root"),
    "no path length": (under_a_ca_without_length, "pathLen"),
    "extra intermediate": (with_an_extra_intermediate, "chain"),
    "leaf alone": (lambda m: [m.leaf()], "chain"),
    "nothing": (lambda m: [], "chain"),
    "CA twice": (lambda m: [m.ca, m.ca], "leaf"),
    "turned round": (lambda m: [m.ca, m.leaf()], "CA"),
    "leaf that is a CA": (lambda m: [m.leaf(shape="critical,CA:TRUE,pathlen:0"), m.ca], "leaf"),
    "leaf that signs certificates": (
        lambda m: [m.leaf(use="critical,digitalSignature,keyCertSign"), m.ca],
        "leaf",
    ),
    "leaf that signs nothing": (lambda m: [m.leaf(use="critical,keyAgreement"), m.ca], "leaf"),
    "no names": (lambda m: [m.leaf(names=["urn:other:1"]), m.ca], "names"),
    "a name twice": (lambda m: [m.leaf(names=[*m.names, m.names[0]]), m.ca], "names"),
    "a name in capitals": (
        lambda m: [m.leaf(names=[one.replace("1", "A", 1).upper() for one in m.names]), m.ca],
        "names",
    ),
    "an extension twice": (
        lambda m: [m.leaf(more=[("keyUsage", "critical,digitalSignature")]), m.ca],
        "certificate",
    ),
    "forged signature": (forged, "root"),
    "a bit of the signature": (flipped, ""),
    "random bytes": (lambda m: [os.urandom(300), m.ca], "certificate"),
    "too long": (lambda m: [m.leaf() + bytes(2048), m.ca], "2048"),
}
"""Chains that are wrong in one way, and a word that the reason must have."""

DEVICE_ONLY: dict[str, tuple[Make, str]] = {
    "not yet valid": (lambda m: [m.leaf(since=NOW + DAY, until=NOW + 9 * DAY), m.ca], "not valid yet"),
    "another device": (
        lambda m: [m.leaf(names=[uri("device", bytes(8)), m.names[1]]), m.ca],
        "another device",
    ),
    "another module": (
        lambda m: [m.leaf(names=[m.names[0], uri("module", bytes(8))]), m.ca],
        "another device or module",
    ),
    "another key": (
        lambda m: [m.leaf(point=Sm2PrivateKey.generate("x").public_point), m.ca],
        "signature",
    ),
}
PLATFORM_ONLY: dict[str, tuple[Make, str]] = {
    "wrong project": (lambda m: [m.leaf(names=[uri("project", bytes(16))]), m.ca], "another project"),
    "too long-lived": (lambda m: [m.leaf(until=NOW + 40 * DAY), m.ca], "longer"),
}


def device_maker(bench: Bench, module: Module) -> Maker:
    names = [uri("device", module.device_id), uri("module", module.module_id)]
    return Maker(bench.service.room.pki, "device", names, module.key.public_point)


async def test_t9_the_makers_own_good_chain_passes(bench: Bench) -> None:
    """Sane first: what the matrix varies is good before it is varied."""
    module = await bench.module(1)
    maker = device_maker(bench, module)
    assert module.given is not None
    module.given = structs.replace(module.given, chain=(maker.leaf(), maker.ca))
    await bench.shake(module)
    pki = bench.service.room.pki
    point = Sm2PrivateKey.generate("p").public_point
    platform = Maker(pki, "platform", [uri("project", PROJECT)], point)
    check_platform_chain([platform.leaf(), platform.ca], root=pki.root, project_id=PROJECT, bound=NOW)


@pytest.mark.parametrize("name", [*MATRIX, *DEVICE_ONLY])
async def test_t9_a_device_whose_certificate_is_wrong_hears_nothing(bench: Bench, name: str) -> None:
    """Through the head-end: no byte comes back, whatever is wrong; the audit log says what it was."""
    make, word = (MATRIX | DEVICE_ONLY)[name]
    module = await bench.module(1)
    maker = device_maker(bench, module)
    assert module.given is not None
    store = Platform()
    handshakes = Handshakes(
        bench.headend, store, SessionCache(store, store), lambda: NOW, cookies=Cookies(os.urandom)
    )
    wrong, run = tuple(make(maker)), None
    if len(wrong) != 2 or any(len(one) > 2000 for one in wrong):
        # DEVICE has room for two certificates of 2048 bytes; what does not fit is judged where chains are judged.
        with pytest.raises(TrustError) as caught:
            bench.service.room.pki.check_device(list(wrong), module.device_id, module.module_id, NOW)
        assert word in caught.value.message
        return
    module.given = structs.replace(module.given, chain=wrong)
    run = module.run()
    line = Line()
    await handshakes.take(line, Arrival(run.hello(NOW), "a", b"", b"", NOW, True))
    (sent,) = [message for _, message in line.sent]
    line.sent.clear()
    refusals = await handshakes.take(line, Arrival(run.platform(sent, NOW), "a", b"", b"", NOW, True))
    assert line.sent == []
    assert len(refusals) == 1
    entry = (await bench.refusals())[-1]
    assert entry.code in {"link.chain", "link.identity", "link.signature"}
    assert word in entry.sentence
    assert store.stored == {}


@pytest.mark.parametrize("name", [*MATRIX, *PLATFORM_ONLY])
async def test_t9_a_platform_whose_certificate_is_wrong_is_not_answered(bench: Bench, name: str) -> None:
    make, word = (MATRIX | PLATFORM_ONLY)[name]
    pki = bench.service.room.pki
    maker = Maker(pki, "platform", [uri("project", PROJECT)], Sm2PrivateKey.generate("p").public_point)
    with pytest.raises(TrustError) as caught:
        check_platform_chain(make(maker), root=pki.root, project_id=PROJECT, bound=NOW)
    assert caught.value.code in {"link.chain", "link.project"}
    assert word in caught.value.message
