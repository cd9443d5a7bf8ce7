"""Known answers at start: whatever primitive is corrupted, by name, and then no service starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meterseal.crypto import selftest, sm2, symmetric
from meterseal.errors import EngineError, TrustError


def test_a_sound_machine_passes_all_of_it() -> None:
    assert selftest.failing() == []
    selftest.require()


def flipped(answer: Any) -> Any:
    if isinstance(answer, bool):
        return not answer
    if isinstance(answer, list):
        return [flipped(one) for one in answer]
    return bytes([answer[0] ^ 1]) + answer[1:]


def corrupted(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **named: flipped(call(*arguments, **named))


@pytest.mark.parametrize(
    ("place", "name", "primitive"),
    [
        (symmetric, "sm4_ecb", "SM4"),
        (symmetric, "sm4_ecb_decrypt", "SM4"),
        (symmetric, "sm4_cbc_encrypt", "SM4-CBC"),
        (symmetric, "sm4_cbc_decrypt", "SM4-CBC"),
        (symmetric, "sm4_cbc_decrypt_all", "SM4-CBC"),
        (symmetric, "sm4_gcm_seal", "SM4-GCM"),
        (symmetric, "sm4_gcm_open", "SM4-GCM"),
        (symmetric, "sm3", "SM3"),
        (symmetric, "hmac_sm3", "HMAC-SM3"),
        (symmetric, "hkdf_expand", "HKDF-SM3"),
        (symmetric, "hkdf_extract", "HKDF-SM3"),
        (symmetric, "equal", "comparison"),
        (sm2, "verify", "SM2 signature"),
        (sm2.Sm2PrivateKey, "sign", "SM2 signature"),
        (sm2, "encrypt", "SM2 encryption"),
        (sm2.Sm2PrivateKey, "decrypt", "SM2 encryption"),
        (sm2.Sm2PrivateKey, "agree", "SM2 key agreement"),
    ],
)
def test_a_corrupted_primitive_is_named(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, primitive: str
) -> None:
    monkeypatch.setattr(place, name, corrupted(getattr(place, name)))
    assert primitive in selftest.failing()
    with pytest.raises(TrustError) as caught:
        selftest.require()
    assert caught.value.code == "crypto.self-test"
    assert primitive in caught.value.message


def test_a_gcm_that_opens_to_other_bytes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it refuses what was changed."""
    right = symmetric.sm4_gcm_open
    monkeypatch.setattr(symmetric, "sm4_gcm_open", lambda *given: right(*given)[:-1] + b"?")
    assert selftest.failing() == ["SM4-GCM"]


def test_a_gcm_that_opens_anything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symmetric, "sm4_gcm_open", lambda key, nonce, sealed, aad: selftest._GCM_PLAIN)
    assert selftest.failing() == ["SM4-GCM"]


def test_a_verifier_that_agrees_to_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm2, "verify", lambda *arguments: True)
    assert selftest.failing() == ["SM2 signature"]


def test_a_library_that_fails_is_a_failed_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> bytes:
        raise EngineError("crypto.libcrypto", "No.")

    monkeypatch.setattr(sm2.Sm2PrivateKey, "from_scalar", broken)
    assert selftest.failing() == ["SM2 signature", "SM2 encryption", "SM2 key agreement"]


CORRUPT = """
import sys
from meterseal.crypto import symmetric
whole = symmetric.sm3
symmetric.sm3 = lambda *parts: bytes(32) if parts == (b"a", b"bc") else whole(*parts)
from meterseal.app.process import main
sys.exit(main(sys.argv[1]))
"""


@pytest.mark.parametrize("process", ["keys", "platform", "headend"])
def test_a_corrupted_service_refuses_to_start_before_it_opens_anything(process: str, tmp_path: Path) -> None:
    orders = {
        "data": str(tmp_path / "nothing"),
        "host": "127.0.0.1",
        "ports": {},
        "password": "",
        "passphrase": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", CORRUPT, process],
        input=json.dumps(orders) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 2
    said = json.loads(done.stdout)
    assert (said["failed"], said["kind"]) == ("crypto.self-test", "trust")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("number", "machine", "good"),
    [
        (0x30000130, "x86_64", True),
        (0x30000130, "aarch64", True),
        (0x30500030, "x86_64", True),
        (0x30500030, "aarch64", False),
        (0x30500040, "aarch64", True),
        (0x30200050, "arm64", False),
        (0x30200060, "riscv64", True),
        (0x40000030, "aarch64", True),
        (0x1010117F, "x86_64", False),
        (0, "x86_64", False),
    ],
)
def test_a_library_that_is_too_old_for_the_machine_is_named(number: int, machine: str, good: bool) -> None:
    fit, says = selftest.advice(number, machine)
    assert fit is good
    assert ("x86-64" in says) == (good and machine != "x86_64")
