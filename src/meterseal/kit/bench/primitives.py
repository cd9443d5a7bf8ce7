"""Beside the path: SM2, SM3 and SM4 as the product calls them, each beside the bare library in the same rounds.

It measures no protocol. Where the command openssl is installed, `openssl speed` stands below, measured once at the end
by that program itself (user CPU seconds); rows of it are absent where it is not, and in runs too short for it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from meterseal.crypto import sm2, symmetric
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import EngineError
from meterseal.kit.bench import raw
from meterseal.kit.bench.machine import openssl_command
from meterseal.kit.bench.report import Result
from meterseal.kit.bench.timing import Case, Limit, Primitive, Watch

UNIT = "operations per CPU second"
SHORT, FRAME, RECORD = 100, 48, 1024
_SLICE = 50
_SHORTEST = 0.5
"""Seconds a row from which on `openssl speed` is asked, which takes a second for each of its own."""
_SPEED: tuple[tuple[tuple[str, ...], tuple[str, ...], int], ...] = (
    (("sm2",), ("SM2 sign", "SM2 verify"), 1),
    (("-evp", "sm3", "-bytes", str(SHORT)), (f"SM3 {SHORT} B",), SHORT),
    (("-hmac", "sm3", "-bytes", str(SHORT)), (f"HMAC-SM3 {SHORT} B",), SHORT),
    (("-evp", "sm4-cbc", "-bytes", str(RECORD)), (f"SM4-CBC {RECORD} B",), RECORD),
)
"""Arguments of `openssl speed`, what its last fields are, and the bytes that one operation takes of its rate."""


def cases(stack: ExitStack, seconds: float) -> list[Case]:
    """The rows."""
    raw.able()
    key, peer = Sm2PrivateKey.generate("own"), Sm2PrivateKey.generate("peer")
    message, secret = os.urandom(44), os.urandom(32)
    signature, sealed = key.sign(message), sm2.encrypt(key.public_point, secret)
    sm4, iv, nonce, mac = os.urandom(16), os.urandom(16), os.urandom(12), os.urandom(32)
    short, frame, record = os.urandom(SHORT), os.urandom(FRAME), os.urandom(RECORD)
    return [
        _case(lambda: Sm2PrivateKey.generate("fresh"), raw.keygen()),
        _case(lambda: key.agree(peer.public_point), raw.ecdh()),
        _case(lambda: key.sign(message), raw.sign()),
        _case(lambda: _yes(sm2.verify(key.public_point, message, signature)), raw.verify()),
        _case(lambda: sm2.encrypt(key.public_point, secret), raw.encrypt()),
        _case(lambda: key.decrypt(sealed), raw.decrypt()),
        _case(lambda: symmetric.sm3(short), raw.sm3(SHORT)),
        _case(lambda: symmetric.sm3(record), raw.sm3(RECORD)),
        _case(lambda: symmetric.hmac_sm3(mac, short), raw.hmac(SHORT)),
        _case(lambda: symmetric.sm4_cbc_encrypt(sm4, iv, frame), raw.cbc(FRAME)),
        _case(lambda: symmetric.sm4_cbc_encrypt(sm4, iv, record), raw.cbc(RECORD)),
        _case(lambda: symmetric.sm4_gcm_seal(sm4, nonce, frame, bytes(16)), raw.gcm(FRAME)),
    ]


def _case(act: Callable[[], object], primitive: Primitive) -> Case:
    def work(watch: Watch) -> int:
        with watch:
            for _ in range(_SLICE):
                act()
        return _SLICE

    limit = Limit("the bare library call", ((_SLICE, primitive),), units=_SLICE)
    return Case(name=primitive.name, unit=UNIT, work=work, limit=limit)


def _yes(answer: bool) -> None:
    if not answer:
        raise EngineError("bench.verify", "A good signature did not hold; see meterseal doctor.")


def afterwards(seconds: float) -> list[Result]:
    """Rows of `openssl speed`; none where the command is absent or the run is shorter than half a second a row."""
    command = openssl_command()
    if command is None or seconds < _SHORTEST:
        return []
    rows: list[Result] = []
    for arguments, names, size in _SPEED:
        said = _speed(command, arguments)
        for name, field in zip(names, said[-len(names) :], strict=False):
            rate = float(field) / size
            rows.append(
                Result(
                    name=f"openssl speed: {name}",
                    rate=round(rate, 2),
                    unit=UNIT,
                    cores=1,
                    cpu_s_per_million=round(1e6 / rate, 3),
                )
            )
    return rows


def _speed(command: str, algorithm: Sequence[str]) -> list[str]:
    """The fields of the last result line of `openssl speed -mr`; none when it does not know the algorithm."""
    try:
        said = subprocess.run(  # noqa: S603  # the command found on the path, fixed arguments
            [command, "speed", "-mr", "-seconds", "1", *algorithm],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in said.splitlines() if line.startswith("+F")]
    return lines[-1].split(":") if lines else []
