"""T23: known key bytes are planted, the service works and refuses, and nothing on disk, in logs or answers
shows them.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import structlog

from meterseal.crypto.expose import expose
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import MetersealError

from .conftest import DAY, PASSPHRASE, Bench


def forms(secret: bytes) -> list[bytes]:
    """Raw, reversed, hex in both cases, and base64 at each of its three alignments."""
    found = [secret, secret[::-1], secret.hex().encode(), secret.hex().upper().encode()]
    for offset in range(3):
        coded = base64.b64encode(bytes(offset) + secret)
        found.append(coded[(offset * 8 + 5) // 6 : -4])
    return found


async def test_no_key_leaves_the_service_by_disk_log_error_or_audit(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    service = bench.service
    modules = [await bench.module(number, 1 + number % 2) for number in range(1, 5)]
    replies = [(await bench.shake(module))[1] for module in modules]
    data_key = await bench.platform.data_key("customer", "c-1")
    errors: list[MetersealError] = []
    for attempt in (
        bench.headend.hello(modules[0].run(key_version=9).hello(bench.clock.now)),
        bench.headend.unwrap(bytes(8), bytes(8), replies[0].wrapped),
        bench.platform.unwrap_data_key("journal", "c-1", data_key.wrapped),
        bench.platform.personalise(modules[0].device_id, bytes(8), 1, modules[1].key.public_point),
        bench.platform.lab_issue(bytes(8), bytes(8), 1),
    ):
        with pytest.raises(MetersealError) as caught:
            await attempt
        errors.append(caught.value)
    bench.clock.now += 25 * DAY
    await bench.shake(modules[0])  # renews the platform's key
    secrets = {
        "passphrase": PASSPHRASE,
        "data key": data_key.key,
        "lab": expose(service.room.keys._file._kek),
    }
    for vault in (service.room.keys, service.room.authorities):
        for (key_id, version), entry in vault._entries.items():
            name = f"{key_id} {version}"
            if isinstance(entry.key, Sm2PrivateKey):
                secrets[name] = entry.key.to_pkcs8()[36:68]
                assert Sm2PrivateKey.from_scalar(secrets[name]).public_point == entry.key.public_point
            else:
                secrets[name] = expose(entry.key)
    for module, reply in zip(modules, replies, strict=True):
        secrets[f"K_b {module.module_id.hex()}"] = expose(module.k_bound)
        secrets[f"up_enc {module.module_id.hex()}"] = reply.keys.up_enc
        secrets[f"down_mac {module.module_id.hex()}"] = reply.keys.down_mac
    structlog.get_logger().info("something", service=service, methods=service.methods(), reply=replies[0])
    audit = repr(await bench.platform.audit(limit=1000)).encode()
    usage = repr(await bench.platform.usage()).encode()
    shown = {
        "errors": repr([(e, e.message, e.facts) for e in errors]).encode(),
        "audit": audit,
        "usage": usage,
        "handles": repr([vault.__dict__ for vault in (service.room.keys, service.room.authorities)]).encode(),
    }
    shown["log"] = "".join(capfd.readouterr()).encode()
    for path in on_disk(bench.directory):
        shown[str(path)] = path.read_bytes()
    service.close()
    for path in on_disk(bench.directory):
        shown[f"{path} closed"] = path.read_bytes()
    assert len(secrets) > 20
    for where, content in shown.items():
        for what, secret in secrets.items():
            assert not any(form in content for form in forms(secret)), f"{what} shows in {where}"


def on_disk(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_the_hunt_finds_a_key_that_is_there(tmp_path: Path) -> None:
    """The net has no holes: each form of a planted key is found, at any alignment."""
    secret = bytes(range(100, 116))
    for form in (
        secret,
        secret[::-1],
        secret.hex().encode(),
        base64.b64encode(secret),
        base64.b64encode(b"a" + secret + b"tail"),
        base64.b64encode(b"ab" + secret + b"tail"),
    ):
        content = b"before" + form + b"after"
        assert any(one in content for one in forms(secret)), form


async def test_evidence_that_crosses_shows_no_key_in_the_service_log(bench: Bench) -> None:
    module = await bench.module(1, 2)
    await bench.platform.check_evidence(module.device_id, module.module_id, 1, bytes(65), bytes(32))
    log = repr(await bench.platform.audit(limit=100))
    assert expose(module.k_bound).hex() not in log
    assert "customer" not in log
