"""What commands take: the options that every one of them has, and words that have to be bounded or well formed.

Times are `cli.times`'s, passphrases `cli.passphrases`'s. Nothing heavy is imported here: `meterseal decode` waits for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from meterseal.errors import LocalError


def between(least: int, most: int) -> Parameter:
    """Bounds of a numeric option; what is beyond them is refused in a sentence, status 2."""
    return Parameter(validator=Number(gte=least, lte=most))


Data = Annotated[Path, Parameter(help="Data directory of the running system.")]
Json = Annotated[bool, Parameter(help="Print JSON, for programs.")]
Limit = Annotated[int, Parameter(validator=Number(gte=1, lte=1000), help="How many at most.")]
Hours = Annotated[int, between(1, 168)]
"""How long a request holds: officers at two places have a week."""


def device_id_of(text: str) -> bytes:
    """Eight bytes from hex; LocalError `use.device` when it is not that."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise LocalError(
            "use.device", f"`{text[:40]}` is no device id: give 16 hex digits, such as 1078330011223344."
        )
    return raw
