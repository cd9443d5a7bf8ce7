"""Beside the path: systemd's side of a concentrator: its unit file, and the three words that it tells systemd.

It reads no environment; who runs says where systemd listens.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

WATCHDOG = 60
"""Seconds without a word after which systemd starts the concentrator again."""


class Notify:
    """sd_notify(3) on the socket that systemd named ("" for none)."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def say(self, word: str) -> None:
        """READY=1, WATCHDOG=1, STOPPING=1; whether anybody listens is not our concern."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
            way.setblocking(False)  # a full queue must not hold the buses up
            way.sendto(word.encode(), self._address)


def unit(command: Sequence[str], directory: Path, devices: Sequence[str], user: str = "") -> str:
    """The text of a unit that runs `command`. Without `user` systemd makes one up, and `directory` must then be one of
    /var/lib; `devices` are the serial ports that it may open, and no other device.
    """
    state = [
        "DynamicUser=yes",
        f"StateDirectory={directory.name}",
        "StateDirectoryMode=0700",
    ]
    own = [f"User={user}", f"ReadWritePaths={directory}"]
    ports = [f"DeviceAllow={device} rw" for device in devices]
    groups = ["SupplementaryGroups=dialout"] if devices else []
    return "\n".join(
        [
            "[Unit]",
            "Description=meterseal concentrator",
            "Wants=network-online.target",
            "After=network-online.target time-sync.target",
            "",
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={' '.join(command)}",
            f"WatchdogSec={WATCHDOG}",
            "Restart=on-failure",
            "RestartSec=5",
            *(own if user else state),
            *groups,
            "DevicePolicy=closed",
            *ports,
            "UMask=0077",
            "LimitCORE=0",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "PrivateTmp=yes",
            "ProtectClock=yes",
            "ProtectHostname=yes",
            "ProtectKernelTunables=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelLogs=yes",
            "ProtectControlGroups=yes",
            "ProtectProc=invisible",
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
            "RestrictNamespaces=yes",
            "RestrictRealtime=yes",
            "RestrictSUIDSGID=yes",
            "LockPersonality=yes",
            "CapabilityBoundingSet=",
            "SystemCallArchitectures=native",
            "SystemCallFilter=@system-service",
            "SystemCallErrorNumber=EPERM",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )
