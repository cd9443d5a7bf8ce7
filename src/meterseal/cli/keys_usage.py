"""`meterseal keys usage`, `certificates` and `store`: how often each key was used, what ends when, where keys lie.

It counts nothing and renews nothing; the security service does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cryptography import x509

from meterseal.app.clock import now_ms
from meterseal.app.config import Layout, load, take_passphrase
from meterseal.app.operator import as_json
from meterseal.app.settings import open_settings
from meterseal.cli.arguments import Data, Json, between
from meterseal.cli.calls import ask_keys
from meterseal.cli.times import at, day
from meterseal.errors import LocalError
from meterseal.mesh.authority import TlsDirectory
from meterseal.security.keystore import open_place, parse_place
from meterseal.security.nearing import nearing
from meterseal.security.papers import Expiring

HOUR, DAY = 3_600_000, 86_400_000
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hd])")


def usage(
    *,
    data: Data,
    since: str = "24h",
    by_day: bool = False,
    json: Json = False,
) -> int:
    """Show how often each key was used, hour by hour or day by day, and which keys come near their limit (HM 8.5.3.b).

    Parameters
    ----------
    since
        From when: 24h, 7d, or a day as 2026-11-21.
    by_day
        One line for each day (UTC) instead of each hour.
    """
    start = _since(since)
    uses = ask_keys(data, lambda sdk: sdk.usage_over_time(start, by_day=by_day))
    near = nearing(ask_keys(data, lambda sdk: sdk.usage()).keys)
    if json:
        print(as_json({"since": start, "uses": list(uses), "nearing": near}))
        return 0
    if not uses:
        print(f"No key was used since {at(start)}.")
    for one in uses:
        print(f"{at(one.since)}  {one.vault:<5} {one.id:<14} version {one.version:<3} {one.uses:>10}")
    for key in near:
        print(f"{key.level}: {key.sentence}")
    return 0


def certificates(*, data: Data, within: Annotated[int, between(1, 36_500)] = 90, json: Json = False) -> int:
    """List what ends soon: certificates of root, CAs, platform, devices and TLS, and the root's revocation list.

    Exit status 1 when something has ended already.

    Parameters
    ----------
    within
        Days from now.
    """
    found = ask_keys(data, lambda sdk: sdk.expiring(within * DAY))
    now = now_ms()
    items = sorted((*found.items, *_tls(Layout(data).tls, now + within * DAY)), key=lambda one: one.until)
    if json:
        print(as_json({"items": items, "devices": found.devices}))
    else:
        for one in items:
            left = (one.until - now) // DAY
            print(f"{at(one.until)}  {left:>5} days  {one.kind:<12} {one.name}")
            print(f"{'':18}{one.cure}")
        more = found.devices - sum(one.kind == "device" for one in items)
        if more:
            print(f"and {more} more devices")
        if not items:
            print(f"Nothing ends within {within} days.")
    return 1 if any(one.until < now for one in items) else 0


def store(*, data: Data, passphrase_file: Path | None = None, json: Json = False) -> int:
    """Say where the vaults' key-encryption keys lie, what that place does itself and what it only seals.

    Parameters
    ----------
    passphrase_file
        Where the passphrase lies, when not beside the data directory; a token whose PIN it is is opened with it.
    """
    layout = Layout(data, passphrase_file)
    passphrase = take_passphrase(layout, create=False, keyring=load(layout).keyring)
    settings = open_settings(layout, TlsDirectory(layout.tls).open(passphrase))
    opened = open_place(parse_place(settings.keystore), passphrase)
    try:
        facts = opened.facts()
    finally:
        opened.close()
    print(as_json(facts) if json else f"{facts.kind}: {facts.label}\n{facts.sentence}")
    return 0


def _tls(directory: Path, end: int) -> list[Expiring]:
    """The certificates of the links between processes and to concentrators (the second root)."""
    found = []
    for path in sorted(directory.glob("*.crt")):
        try:
            read = x509.load_pem_x509_certificate(path.read_bytes())
        except (ValueError, OSError):
            continue  # a certificate that cannot be read stops its process and is told there
        until = int(read.not_valid_after_utc.timestamp()) * 1000
        if until < end:
            root = path.stem == "root"
            cure = (
                "Set up a new tls directory before."
                if root
                else "Restart the system: it renews them at start."
            )
            found.append(
                Expiring(kind="tls", name=path.name, serial=f"{read.serial_number:x}", until=until, cure=cure)
            )
    return found


def _since(text: str) -> int:
    match = _SPAN.fullmatch(text)
    if match is not None:
        return now_ms() - int(match[1]) * (HOUR if match[2] == "h" else DAY)
    try:
        return day(text)
    except LocalError:
        raise LocalError(
            "use.since", f"`{text}` is no time: write 24h, 7d, or a day as 2026-11-21."
        ) from None
