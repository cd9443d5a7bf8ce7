"""The passphrase in the system's keyring: made once, found again, and one clear sentence when it cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring

from meterseal.app.config import Layout, take_passphrase
from meterseal.errors import LocalError


class Unlocked(KeyringBackend):
    """A keyring that is open, as a desktop session's is."""

    priority = 1  # type: ignore[assignment]  # the base declares a property of the class

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


def test_the_first_start_makes_a_passphrase_and_the_second_finds_it(layout: Layout) -> None:
    opened = Unlocked()
    keyring.set_keyring(opened)
    made = take_passphrase(layout, create=True, keyring=True)
    assert len(made) >= 32
    assert take_passphrase(layout, create=False, keyring=True) == made
    assert list(opened.kept) == [("meterseal", str(layout.root))]
    assert not layout.root.exists()  # nothing of it in a file


def test_a_keyring_without_the_passphrase_makes_no_new_one_for_an_old_system(layout: Layout) -> None:
    opened = Unlocked()
    keyring.set_keyring(opened)
    with pytest.raises(LocalError) as refused:
        take_passphrase(layout, create=False, keyring=True)
    assert refused.value.code == "app.no-passphrase"
    assert not opened.kept


@pytest.mark.parametrize(("create", "advice"), [(True, "without --keyring"), (False, "unlock it")])
def test_no_keyring_is_said_with_what_to_do(layout: Layout, create: bool, advice: str) -> None:
    keyring.set_keyring(NoKeyring())
    with pytest.raises(LocalError) as refused:
        take_passphrase(layout, create=create, keyring=True)
    assert refused.value.code == "app.keyring"
    assert advice in refused.value.message
