"""The built styles and scripts, held in memory under names that change with their content.

It builds nothing; `hatch_build.py` does, from `web/`.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import NamedTuple

import msgspec

from meterseal.people.portal.i18n import not_built

FOREVER = "public, max-age=31536000, immutable"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """One file as it is sent."""

    media_type: str
    plain: bytes
    gzipped: bytes


class Assets:
    """Every built file. Raises LocalError `portal.not-built` when there are none."""

    def __init__(self, folder: Path) -> None:
        try:
            listed = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=dict[str, str])
            self._files = {name: _read(folder / name) for name in listed.values()}
        except (OSError, msgspec.DecodeError):
            raise not_built("the set of styles and scripts") from None
        self._names = listed

    def url(self, name: str) -> str:
        """Address of `style.css` and so on."""
        return f"/static/{self._names[name]}"

    def get(self, file: str) -> Asset | None:
        """The file behind an address, or None."""
        return self._files.get(file)

    def named(self, name: str) -> Asset:
        """The file by its own name."""
        return self._files[self._names[name]]


def _read(path: Path) -> Asset:
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(kind, path.read_bytes(), path.with_name(path.name + ".gz").read_bytes())
