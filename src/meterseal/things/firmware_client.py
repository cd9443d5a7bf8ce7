"""Reads the platform's repository of firmware through python-tuf's client, at a given time and with our refusals.

It opens no connection: the repository is a directory beside it. What is kept there and who signs it is
`firmware_repository`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from meterseal.things.firmware_metadata import BROKEN, MOST, disk, moment, refused


class _Files(FetcherInterface):
    """The repository's files for the client, which takes them for something far away."""

    def __init__(self, metadata: Path, images: Path) -> None:
        self._places = {"metadata": metadata, "images": images}

    def _fetch(self, url: str) -> Iterator[bytes]:
        place, _, name = url.removeprefix("repository://").partition("/")
        try:
            file = (self._places[place] / Path(name).name).open("rb")
        except OSError:
            raise DownloadHTTPError(f"{name} is not there", 404) from None
        with file:
            while piece := file.read(65_536):
                yield piece


class Client:
    """python-tuf's client at a given time, its refusals in our words."""

    def __init__(self, first: bytes, trusted: Path, metadata: Path, images: Path, now: int) -> None:
        self._make = first, trusted, _Files(metadata, images)
        self._now = now

    def __enter__(self) -> Updater:
        first, trusted, files = self._make
        config = UpdaterConfig(
            root_max_length=MOST["root"],
            timestamp_max_length=MOST["timestamp"],
            snapshot_max_length=MOST["snapshot"],
            targets_max_length=MOST["targets"],
        )
        try:
            client = Updater(
                str(trusted),
                "repository://metadata/",
                target_base_url="repository://images/",
                fetcher=files,
                config=config,
                bootstrap=first,
            )
            # The client takes the time when it is made; ours is an argument everywhere.
            client._trusted_set.reference_time = moment(self._now)
            client.refresh()
        except (*BROKEN, ValueError) as error:
            raise refused(error) from None
        except OSError as error:
            raise disk(error) from None
        return client

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BROKEN):
            raise refused(error) from None
