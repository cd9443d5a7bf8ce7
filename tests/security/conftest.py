"""A provisioned key service, its vaults and its clock, for the tests of the security service."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.security.hierarchy import plant
from meterseal.security.vault import Vault

PASSPHRASE = b"a passphrase for tests"
PROJECT = bytes.fromhex("31011500000000000001000200000003")
NOW = 1_795_000_000_000
DAY = 86_400_000


class Clock:
    """The time that a service is told."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault.create(tmp_path / "keys.vault", "keys", PASSPHRASE)
    plant(made, PROJECT)
    return made
