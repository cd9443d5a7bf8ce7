"""Beside the path: what a figure needs to be read: the processor, the versions, how busy the machine was, memory.

It tells no host name, no path and no user.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

from meterseal.crypto import _libcrypto

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Machine(Struct, frozen=True, kw_only=True):
    """The machine of a report. `load` is how many programs wanted a core in the minute before."""

    cpu: str
    cores: int
    python: str
    libcrypto: str
    cryptography: str
    openssl: str
    load: float


def machine() -> Machine:
    """The facts of this machine now."""
    from cryptography.hazmat.backends.openssl.backend import backend

    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        python=platform.python_version(),
        libcrypto=_libcrypto.version(),
        cryptography=backend.openssl_version_text(),
        openssl=_openssl_version(),
        load=round(os.getloadavg()[0], 2),
    )


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def openssl_command() -> str | None:
    """Where the command openssl is, if it is there."""
    return shutil.which("openssl")


def _openssl_version() -> str:
    command = openssl_command()
    if command is None:
        return "not installed"
    try:
        said = subprocess.run([command, "version"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603  # the command found on the path, fixed arguments
    except (OSError, subprocess.SubprocessError):
        return "does not run"
    return " ".join(said.stdout.split()[:2])


class PeakMemory:
    """The most memory this process held while this was entered, in MB (2^20 bytes)."""

    def __init__(self) -> None:
        self.megabytes = 0.0

    def __enter__(self) -> PeakMemory:
        with contextlib.suppress(OSError):
            _CLEAR.write_text("5", encoding="ascii")  # begins a new peak
        return self

    def __exit__(self, *failed: object) -> None:
        self.megabytes = max(self.megabytes, _peak())


def _peak() -> float:
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM"):
                return round(int(line.split()[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)  # since the process began
