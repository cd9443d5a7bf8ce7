"""The key store port: one contract that the passphrase and the PKCS#11 token both keep, and every refusal by name.

The token is SoftHSM's, real and on disk; without the package its tests are skipped and say how to get it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey, verify
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.security import keystore, keystore_pkcs11
from meterseal.security.keystore import KeyStore, Place, SoftwareStore, open_place, parse_place
from meterseal.security.service import SecurityService, provision
from meterseal.security.vault import Vault

from .conftest import NOW, PASSPHRASE, PROJECT, Bench, Clock

LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
LIBRARY = next((path for path in LIBRARIES if Path(path).exists()), "")
PIN = b"87654321"

needs_token = pytest.mark.skipif(
    not LIBRARY or shutil.which("softhsm2-util") is None or importlib.util.find_spec("pkcs11") is None,
    reason="no SoftHSM here: apt-get install softhsm2, and pip install 'meterseal[pkcs11]'",
)


class Tokens:
    """SoftHSM with a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "tokens"
        self.directory.mkdir()
        settings = directory / "softhsm2.conf"
        settings.write_text(f"directories.tokendir = {self.directory}\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(settings)

    def make(self, label: str) -> None:
        arguments = [
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            "12345678",
            "--pin",
            PIN.decode(),
        ]
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    """Two tokens; made before the library is first loaded, which reads its settings once in a process."""
    before = os.environ.get("SOFTHSM2_CONF")
    made = Tokens(tmp_path_factory.mktemp("softhsm"))
    for label in ("meterseal", "another"):
        made.make(label)
    yield made
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


_OPENED: list[KeyStore] = []


def token_store(label: str = "meterseal", pin: bytes = PIN) -> KeyStore:
    """An open token; closed after its test, since a process logs in to a token once."""
    _OPENED.append(keystore_pkcs11.TokenStore(LIBRARY, label, pin))
    return _OPENED[-1]


@pytest.fixture(autouse=True)
def closed_after() -> Iterator[None]:
    yield
    while _OPENED:
        _OPENED.pop().close()


Open = Callable[[], KeyStore]


@pytest.fixture(params=["software", pytest.param("pkcs11", marks=needs_token)])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """How to open the store, as after a restart; each adapter in turn."""
    if request.param == "software":
        yield lambda: SoftwareStore(PASSPHRASE)
        return
    request.getfixturevalue("tokens")

    def again() -> KeyStore:
        while _OPENED:
            _OPENED.pop().close()
        return token_store()

    yield again


# --- the contract


def test_what_was_sealed_opens_in_its_place_after_a_restart(opened: Open) -> None:
    record, kek = opened().create("keys")
    sealed = kek.gcm_seal(b"a key", b"place")
    assert kek.gcm_open(sealed, b"place") == b"a key"
    assert opened().find("keys", record).gcm_open(sealed, b"place") == b"a key"


def test_no_two_seals_are_alike_and_neither_shows_what_it_holds(opened: Open) -> None:
    _, kek = opened().create("keys")
    secret = os.urandom(32)
    seals = {kek.gcm_seal(secret, b"place") for _ in range(8)}
    assert len(seals) == 8
    assert all(secret not in sealed for sealed in seals)


def test_another_place_another_key_and_changed_bytes_do_not_open(opened: Open) -> None:
    store = opened()
    record, kek = store.create("keys")
    sealed = kek.gcm_seal(b"a key", b"place")
    _, other = store.create("keys")
    wrong = [(kek, sealed, b"elsewhere"), (other, sealed, b"place"), (kek, sealed[:-1], b"place")]
    wrong += [
        (kek, sealed[:n] + bytes((sealed[n] ^ 1,)) + sealed[n + 1 :], b"place") for n in range(len(sealed))
    ]
    wrong += [(kek, b"", b"place"), (kek, sealed + b"\x00", b"place"), (kek, sealed[:27], b"place")]
    for key, changed, place in wrong:
        with pytest.raises(TrustError) as caught:
            key.gcm_open(changed, place)
        assert caught.value.code == "crypto.tag"
    assert store.find("keys", record).gcm_open(sealed, b"place") == b"a key"


def test_the_record_and_the_handles_show_no_key(opened: Open) -> None:
    store = opened()
    record, kek = store.create("keys")
    assert PASSPHRASE not in record
    assert PIN not in record
    for shown in (repr(store), repr(kek), str(store.facts())):
        assert PASSPHRASE.decode() not in shown
        assert PIN.decode() not in shown


def test_a_record_of_the_other_kind_of_store_is_refused_with_its_name(opened: Open) -> None:
    store = opened()
    foreign = (
        SoftwareStore(PASSPHRASE).create("keys")[0]
        if store.facts().kind == "pkcs11"
        else msgspec.msgpack.encode(keystore_pkcs11.TokenRecord(token="t", serial="s", key_id=bytes(16)))
    )
    for record in (foreign, b"", b"\xc1"):
        with pytest.raises(LocalError) as caught:
            store.find("keys", record)
        assert caught.value.code == "security.other-store"


def test_a_store_says_what_it_does_itself_and_what_it_only_seals(opened: Open) -> None:
    facts = opened().facts()
    assert set(facts.wrapped) == {"SM2", "SM4"}
    assert facts.native == (("AES-256-GCM",) if facts.kind == "pkcs11" else ())
    assert "memory" in facts.sentence or "passphrase" in facts.sentence


def test_a_vault_keeps_its_keys_over_a_restart_in_every_store(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "keys.vault"
    vault = Vault.create(path, "keys", opened())
    signer = Sm2PrivateKey.generate("PLATFORM")
    vault.add("ROOT", 1, SymmetricKey.generate("ROOT version 1"))
    vault.add("PLATFORM", 1, signer, limit=5)
    vault.use("PLATFORM", 1, 3)
    facts = vault.all_facts()
    vault.close()
    again = Vault.open(path, "keys", opened())
    assert again.all_facts() == facts
    assert verify(signer.public_point, b"message", again.signing("PLATFORM").sign(b"message"))
    again.close()


def test_a_vault_whose_record_was_put_back_from_another_vault_does_not_open(
    opened: Open, tmp_path: Path
) -> None:
    import sqlite3

    store = opened()
    Vault.create(tmp_path / "keys.vault", "keys", store).close()
    other, _ = store.create("ca")
    connection = sqlite3.connect(tmp_path / "keys.vault")
    connection.execute("UPDATE vault SET stretching = ?", (other,))
    connection.commit()
    connection.close()
    with pytest.raises(TrustError) as caught:
        Vault.open(tmp_path / "keys.vault", "keys", store)
    assert caught.value.code == "security.passphrase"


# --- the token alone


@needs_token
def test_the_tokens_key_never_leaves_it(tokens: Tokens) -> None:
    import pkcs11

    store = token_store()
    record, _ = store.create("keys")
    named = msgspec.msgpack.decode(record, type=keystore_pkcs11.TokenRecord)
    session = store._session  # type: ignore[attr-defined]  # looked at from inside, as an attacker with the PIN would
    key = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, id=named.key_id)
    with pytest.raises(pkcs11.exceptions.AttributeSensitive):
        key[pkcs11.Attribute.VALUE]
    wrapper = session.generate_key(pkcs11.KeyType.AES, 256, capabilities=pkcs11.MechanismFlag.WRAP)
    with pytest.raises(pkcs11.exceptions.PKCS11Error):
        wrapper.wrap_key(key)
    store.close()


@needs_token
def test_a_destroyed_key_opens_nothing_any_more(tokens: Tokens) -> None:
    store = token_store()
    record, kek = store.create("keys")
    sealed = kek.gcm_seal(b"a key", b"place")
    store.destroy("keys", record)
    with pytest.raises(TrustError) as caught:
        store.find("keys", record)
    assert caught.value.code == "security.token-key"
    with pytest.raises((EngineError, TrustError)):
        kek.gcm_open(sealed, b"place")
    store.close()


@needs_token
def test_another_token_does_not_open_the_vault_and_is_told_which_one_does(
    tokens: Tokens, tmp_path: Path
) -> None:
    store, other = token_store(), token_store("another")
    Vault.create(tmp_path / "keys.vault", "keys", store).close()
    with pytest.raises(TrustError) as caught:
        Vault.open(tmp_path / "keys.vault", "keys", other)
    assert caught.value.code == "security.token-key"
    assert "meterseal" in caught.value.message


@needs_token
def test_a_wrong_pin_is_refused_and_a_right_one_then_works(tokens: Tokens) -> None:
    for pin in (b"00000000", b"", b"\xff\xfe"):
        with pytest.raises(TrustError) as caught:
            token_store(pin=pin)
        assert caught.value.code == "security.pin"
        assert pin.decode("latin-1") not in caught.value.message or not pin
    token_store().close()


@needs_token
def test_a_token_that_is_not_there_is_named(tokens: Tokens) -> None:
    with pytest.raises(LocalError) as caught:
        token_store("nowhere")
    assert caught.value.code == "security.token-missing"
    assert "nowhere" in caught.value.message


@needs_token
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of python-pkcs11's own clean-up
def test_a_store_that_was_closed_says_that_the_token_does_not_answer(tokens: Tokens) -> None:
    store = token_store()
    record, kek = store.create("keys")
    sealed = kek.gcm_seal(b"a key", b"place")
    store.close()
    for act in (
        lambda: kek.gcm_seal(b"a key", b"place"),
        lambda: kek.gcm_open(sealed, b"place"),
        lambda: store.create("keys"),
        lambda: store.find("keys", record),
        lambda: store.destroy("keys", record),
    ):
        with pytest.raises(EngineError) as caught:
            act()
        assert caught.value.code == "security.token"


@needs_token
async def test_the_whole_service_runs_on_a_token_and_not_without_it(tokens: Tokens, tmp_path: Path) -> None:
    store, clock = token_store(), Clock()
    directory = tmp_path / "keys"
    provision(directory, PASSPHRASE, PROJECT, NOW, store=store)
    provision(directory, PASSPHRASE, PROJECT, NOW, store=store)  # a next start
    with pytest.raises(LocalError) as caught:
        SecurityService.open(directory, PASSPHRASE, clock=clock)
    assert caught.value.code == "security.other-store"
    bench = Bench(directory, clock, store)
    module = await bench.module(1)
    await bench.shake(module)
    bench.service.close()
    again = Bench(directory, clock, store)
    session, reply = await again.shake(module)
    assert session.keys == reply.keys
    again.service.close()
    store.close()


@needs_token
def test_a_locked_token_says_who_unlocks_it(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """SoftHSM never locks, so its refusal is put in its mouth."""
    import pkcs11
    import pkcs11.exceptions

    class Locked:
        serial = b"1"

        def open(self, **_: object) -> None:
            raise pkcs11.exceptions.PinLocked

    class Library:
        def get_tokens(self, **_: object) -> list[Locked]:
            return [Locked()]

    monkeypatch.setattr(pkcs11, "lib", lambda _: Library())
    with pytest.raises(TrustError) as caught:
        token_store()
    assert caught.value.code == "security.pin-locked"
    assert "security officer" in caught.value.message


@needs_token
def test_a_token_whose_keys_could_leave_it_is_not_fit(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM does as it is told, so it is told to make a key that may leave."""
    import pkcs11

    store = token_store()
    session = store._session  # type: ignore[attr-defined]

    class Leaky:
        def generate_key(self, *arguments: object, **named: object) -> object:
            named["template"] = {pkcs11.Attribute.SENSITIVE: False, pkcs11.Attribute.EXTRACTABLE: True}
            return session.generate_key(*arguments, **named)

    monkeypatch.setattr(store, "_session", Leaky())
    with pytest.raises(LocalError) as caught:
        store.create("keys")
    assert caught.value.code == "security.token-unfit"
    monkeypatch.undo()
    store.close()


def test_without_its_package_a_token_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(LocalError) as caught:
        keystore_pkcs11.TokenStore("/nowhere.so", "meterseal", PIN)
    assert caught.value.code == "security.pkcs11"
    assert "pip install" in caught.value.message


@pytest.mark.skipif(importlib.util.find_spec("pkcs11") is None, reason="pip install 'meterseal[pkcs11]'")
def test_a_library_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.so").write_bytes(b"no library")
    for path in (str(tmp_path / "x.so"), "/nowhere/x.so"):
        with pytest.raises(LocalError) as caught:
            keystore_pkcs11.TokenStore(path, "meterseal", PIN)
        assert caught.value.code == "security.pkcs11"
        assert path in caught.value.message


# --- where it is named


def test_a_place_is_software_or_a_uri_of_rfc_7512() -> None:
    assert parse_place("") == parse_place("software") == Place()
    text = "pkcs11:token=my%20token?module-path=/usr/lib/x.so&pin-source=file:/run/pin"
    assert parse_place(text) == Place(module="/usr/lib/x.so", token="my token", pin_file="/run/pin")
    assert parse_place("pkcs11:token=t?module-path=/x.so") == Place(module="/x.so", token="t")


@pytest.mark.parametrize(
    "text",
    [
        "hardware",
        "pkcs11:",
        "pkcs11:token=t",
        "pkcs11:token=t?module-path=",
        "pkcs11:token=?module-path=/x.so",
        "pkcs11:token=t;object=o?module-path=/x.so",
        "token=t?module-path=/x.so",
        "pkcs11:token=t?module-path",
    ],
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_place(text)
    assert caught.value.code == "use.keystore"


def test_a_pin_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        open_place(Place(module="/x.so", token="t", pin_file=str(tmp_path / "pin")), PASSPHRASE)
    assert caught.value.code == "security.token"
    assert str(tmp_path / "pin") in caught.value.message


@needs_token
def test_a_place_opens_with_the_pin_of_its_file_or_with_the_passphrase(
    tokens: Tokens, tmp_path: Path
) -> None:
    (tmp_path / "pin").write_bytes(PIN + b"\n")
    for place, passphrase in (
        (Place(module=LIBRARY, token="meterseal", pin_file=str(tmp_path / "pin")), PASSPHRASE),
        (Place(module=LIBRARY, token="meterseal"), PIN),
    ):
        store = open_place(place, passphrase)
        assert store.facts().kind == "pkcs11"
        store.close()
    assert open_place(Place(), PASSPHRASE).facts().kind == "software"
    assert keystore.of(PASSPHRASE).facts().kind == "software"


@needs_token
def test_a_token_that_this_process_has_open_already_does_not_open_twice(tokens: Tokens) -> None:
    token_store()
    with pytest.raises(EngineError, match="did not answer") as caught:
        token_store()
    assert caught.value.code == "security.token"


@needs_token
def test_a_key_that_a_token_will_not_destroy_is_named_and_stays(tokens: Tokens) -> None:
    """Over a session that may only read."""
    store = token_store()
    record, kek = store.create("keys")
    sealed = kek.gcm_seal(b"a key", b"place")
    store.close()
    store._session = store._token.open(rw=False, user_pin=PIN.decode())  # type: ignore[attr-defined]
    with pytest.raises(EngineError) as caught:
        store.destroy("keys", record)
    assert caught.value.code == "security.token"
    assert store.find("keys", record).gcm_open(sealed, b"place") == b"a key"
