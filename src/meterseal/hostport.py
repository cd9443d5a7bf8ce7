"""Below every station: how a host and a port are written together, and read again; IPv6 hosts stand in brackets.

It looks no name up and opens no socket.
"""

from __future__ import annotations

import re
import socket
from typing import Final

_WRITTEN: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s\[\]:/@]+)):(?P<port>\d{1,5})\Z", re.ASCII
)


def written(host: str, port: int | str) -> str:
    """`host:port`, with brackets around an IPv6 address: `[::1]:7687`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parted(text: str) -> tuple[str, int] | None:
    """Host (without brackets) and port of what `written` writes; None for anything else."""
    found = _WRITTEN.match(text)
    if found is None or int(found["port"]) > 65_535:
        return None
    host = found["six"] or found["host"]
    return (host, int(found["port"])) if found["host"] or ":" in host else None


def family(host: str) -> socket.AddressFamily:
    """The family of sockets that listen at this host: IPv6 for an address of it, else IPv4."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
