"""`meterseal up`: one system on one machine, for good. First start makes it, every later start continues it.

It prints where the system serves and then waits; what the processes do is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as json_module
import signal
import sys
from pathlib import Path

from meterseal.cli.arguments import Json
from meterseal.cli.signals import unless


def up(
    *,
    data: Path,
    json: Json = False,
    lab: bool = False,
    project: str | None = None,
    passphrase_file: Path | None = None,
    keyring: bool = False,
    keystore: str = "",
    host: str = "127.0.0.1",
    web_port: int = 0,
    headend_tcp_port: int = 0,
    headend_tls_port: int = 0,
    platforms_port: int = 0,
    verbose: bool = False,
    sm_tls: bool = False,
    transports: Path | None = None,
) -> int:
    """Start the system of a data directory and keep it running until SIGTERM or Ctrl-C.

    Parameters
    ----------
    data
        The data directory; an empty or missing one becomes a new system.
    json
        Print one JSON object on one line once everything serves; logs go to standard error.
    lab
        Mark a new system's project as lab: `device issue --lab` may then hand out credentials in clear.
    project
        Project id of a new system, 32 hex digits (LINK section 1).
    passphrase_file
        Where the passphrase of the vaults lies; by default DATA.passphrase, beside the directory and never in it.
    keyring
        Keep a new system's passphrase in the system's keyring instead of a file.
    keystore
        Where a new system's vaults have their key-encryption keys: software (the passphrase), or a PKCS#11 URI such as
        `pkcs11:token=NAME?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/path`.
    host
        Address to listen on.
    web_port, headend_tcp_port, headend_tls_port, platforms_port
        Ports (the last is for other people's platforms, see `keys platform`); a new system takes free ones and keeps them.
    verbose
        Log what the processes do, not only what goes wrong.
    sm_tls
        Let a new system's concentrators speak TLS 1.3 with the SM suite of RFC 8998, and nothing else.
    transports
        A file (TOML) that says what else the head-end serves: [udp], [coap], [[mqtt]] brokers, [push] from carriers. It is
        kept, sealed, until another is given; an empty file ends all of them.
    """
    return asyncio.run(
        _up(
            data,
            as_json=json,
            lab=lab,
            project=project,
            passphrase_file=passphrase_file,
            keyring=keyring,
            keystore=keystore,
            host=host,
            ports={
                "web": web_port,
                "headend_tcp": headend_tcp_port,
                "headend_tls": headend_tls_port,
                "platforms": platforms_port,
            },
            verbose=verbose,
            sm_tls=sm_tls,
            transports=transports,
        )
    )


async def _up(
    data: Path,
    *,
    as_json: bool,
    lab: bool,
    project: str | None,
    passphrase_file: Path | None,
    keyring: bool,
    keystore: str,
    host: str,
    ports: dict[str, int],
    verbose: bool,
    sm_tls: bool,
    transports: Path | None,
) -> int:
    from meterseal.app import operator, system

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = await unless(
        stop,
        system.start(
            data,
            passphrase_file=passphrase_file,
            project=project,
            lab=lab,
            host=host,
            ports=ports,
            keyring=keyring,
            keystore=keystore,
            verbose=verbose,
            sm_tls=sm_tls,
            transports_file=transports,
        ),
    )
    if running is None:
        return 0
    try:
        said: dict[str, object] = {"ready": True, "web": running.web, "headend": running.headend}
        if running.first_start:
            link = await running.operator.call("account_link", operator.Account(), operator.Link)
            said["operator_link"] = running.web + link.path
        print(json_module.dumps(said) if as_json else _welcome(running, said))
        sys.stdout.flush()
        await running.supervisor.until(stop)
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await running.stop()
    return 0


def _welcome(running: object, said: dict[str, object]) -> str:
    from meterseal.app.system import System

    assert isinstance(running, System)
    lines = [
        f"meterseal serves from {running.layout.root}",
        f"  portal     {said['web']}",
        f"  head-end   tcp {running.headend['tcp']} (devices)   tls {running.headend['tls']} (concentrators)",
        *(f"             {name} {place}" for name, place in running.ways.items()),
        f"  security   tls {running.platforms} (other people's platforms)",
    ]
    if running.settings.keyring:
        lines.append("  passphrase in the system's keyring")
    else:
        lines.append(
            f"  passphrase {running.layout.passphrase_file}   keep it apart from copies of the directory"
        )
    if "operator_link" in said:
        lines.append(f"  sign in as operator, once: {said['operator_link']}")
    else:
        lines.append("  a new sign-in link: meterseal account link --data " + str(running.layout.root))
    return "\n".join(lines)
