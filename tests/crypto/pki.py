"""A small tree of SM2 certificates for tests: root, platform CA, device CA, leaves and lists."""

from __future__ import annotations

from meterseal.crypto import certificates
from meterseal.crypto.sm2 import Sm2PrivateKey

NOW = 1_780_000_000_000
DAY = 86_400_000
DEVICE = bytes.fromhex("1078330011223344")
MODULE = bytes.fromhex("0102030405060708")
PROJECT = bytes.fromhex("31011500000000000001000200000003")
SINCE, UNTIL = NOW - DAY, NOW + 3650 * DAY


class Tree:
    """Root, platform CA and device CA with a leaf each, valid at NOW, and the keys to issue what is wrong."""

    def __init__(self) -> None:
        fresh = Sm2PrivateKey.generate
        self.root_key, self.platform_ca_key, self.device_ca_key = fresh("root"), fresh("pca"), fresh("dca")
        self.platform_key, self.device_key = fresh("platform"), fresh("device")
        self.root = certificates.issue_root(self.root_key, name="root", since=SINCE, until=UNTIL)
        self.platform_ca = self.ca("platform", self.platform_ca_key)
        self.device_ca = self.ca("device", self.device_ca_key)
        self.platform_chain = [self.platform(), self.platform_ca]
        self.device_chain = [self.device(), self.device_ca]

    def ca(self, purpose: certificates.Purpose, key: Sm2PrivateKey, until: int = UNTIL) -> bytes:
        return certificates.issue_ca(
            self.root,
            self.root_key,
            point=key.public_point,
            name=f"{purpose} CA",
            purpose=purpose,
            since=SINCE,
            until=until,
        )

    def platform(self, project: bytes = PROJECT, since: int = SINCE, until: int = SINCE + 30 * DAY) -> bytes:
        return certificates.issue_leaf(
            self.platform_ca,
            self.platform_ca_key,
            point=self.platform_key.public_point,
            name="platform",
            purpose="platform",
            uris=[certificates.uri("project", project)],
            since=since,
            until=until,
        )

    def device(self, device_id: bytes = DEVICE, module_id: bytes = MODULE) -> bytes:
        return certificates.issue_leaf(
            self.device_ca,
            self.device_ca_key,
            point=self.device_key.public_point,
            name="device",
            purpose="device",
            uris=[certificates.uri("device", device_id), certificates.uri("module", module_id)],
            since=SINCE,
            until=UNTIL,
        )

    def crl(
        self, issuer: bytes, key: Sm2PrivateKey, revoked: list[int] | None = None, until: int = UNTIL
    ) -> bytes:
        entries = [(serial, NOW) for serial in revoked or []]
        return certificates.issue_crl(issuer, key, revoked=entries, number=1, since=SINCE, until=until)

    def device_crls(self, revoked: list[int] | None = None) -> list[bytes]:
        return [
            self.crl(self.root, self.root_key),
            self.crl(self.device_ca, self.device_ca_key, revoked),
        ]
