"""What the portal is told when it starts.

No defaults that depend on the machine; `app` fills it in.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

HERE = Path(__file__).parent


class PortalSettings(Struct, frozen=True, kw_only=True):
    """`hosts` are the Host headers answered (name or name:port; empty: any), the guard against rebinding of
    names.

    `secure` is True where people reach the portal over TLS: cookies then carry Secure and the `__Host-`
    prefix, and browsers are told to stay with TLS. `sign_ins` is how many sign-in attempts one address may
    make in five minutes.
    """

    hosts: tuple[str, ...] = ()
    secure: bool = False
    sign_ins: int = 30
    static: Path = HERE / "static"
    locale: Path = HERE / "locale"
