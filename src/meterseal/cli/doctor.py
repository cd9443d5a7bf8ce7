"""`meterseal doctor`: whether this machine can do what the system needs, and what to do where it cannot.

It changes nothing and needs no data directory.
"""

from __future__ import annotations

import json as json_module
import platform
import shutil
import sys
from pathlib import Path

from meterseal.cli.arguments import Json


def doctor(*, json: Json = False) -> int:
    """Check Python, libcrypto (SM2, SM3, SM4), time zone data and Chromium (for the browser tests)."""
    checks = list(_checks())
    good = all(ok or not needed for _, ok, needed, _ in checks)
    if json:
        rows = [{"check": n, "ok": ok, "needed": needed, "says": says} for n, ok, needed, says in checks]
        print(json_module.dumps({"ok": good, "checks": rows}))
    else:
        for name, ok, needed, says in checks:
            print(f"{'ok  ' if ok else 'FAIL' if needed else 'note'}  {name:<10} {says}")
    return 0 if good else 1


def _checks() -> list[tuple[str, bool, bool, str]]:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from meterseal.crypto import _libcrypto, selftest, sm2, symmetric

    version = ".".join(map(str, sys.version_info[:3]))
    rows = [("python", sys.version_info >= (3, 11), True, f"Python {version}; 3.11 or newer is needed")]
    able, sentence = sm2.supported()
    rows.append(("sm2", able, True, sentence))
    digest = symmetric.sm3(b"abc").hex()
    rows.append(("sm3", digest.startswith("66c7f0f4"), True, "SM3 of `abc` is the standard's value"))
    block = bytes.fromhex("0123456789abcdeffedcba9876543210")
    sealed = symmetric.sm4_ecb(block, block).hex()
    rows.append(
        ("sm4", sealed == "681edf34d206965e86b3e94f536e4246", True, "SM4 of the standard's block is right")
    )
    wrong = selftest.failing() if able else ["SM2"]
    says = f"{', '.join(wrong)} answers wrongly" if wrong else "every primitive gives its known answer"
    rows.append(("self-test", not wrong, True, says))
    sound, says = selftest.advice(_libcrypto.number(), platform.machine())
    rows.append(("libcrypto", sound, True, says))
    try:
        ZoneInfo("Asia/Shanghai")
        rows.append(("time zone", True, True, "Asia/Shanghai is known"))
    except ZoneInfoNotFoundError:
        rows.append(("time zone", False, True, "Asia/Shanghai is unknown; install the package tzdata"))
    chromium = shutil.which("chromium") or (
        "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else None
    )
    says = (
        f"found {chromium}"
        if chromium
        else "only the browser tests need it: apt install chromium fonts-wqy-microhei"
    )
    rows.append(("chromium", chromium is not None, False, says))
    return rows
