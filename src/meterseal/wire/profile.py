"""Station wire, meter models: which of the data files belongs to a meter, the package's and those of a user.

It reads no frame and checks no file (profile_file does). The more a model says about its meters, the closer it is:
the digits it fixes count first, then whether frames show what it looks for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from itertools import combinations

from meterseal.errors import DataError
from meterseal.wire.frame import Frame
from meterseal.wire.profile_file import Profile, Timing, Vector, ambiguous, parse_profile

__all__ = [
    "Models",
    "Profile",
    "Timing",
    "Vector",
    "largest_data",
    "no_model",
    "parse_profile",
    "profile_of",
    "profiles",
]


class Models:
    """Meter models, those of a user before those of the package where both are as close.

    `by_name` has every model; a user's stands in the place of the package's of the same name.

    Raises DataError `wire.profile` when two of the same origin cannot be told apart or have one name.
    """

    def __init__(self, own: Iterable[Profile], package: Iterable[Profile] = ()) -> None:
        self._own = _told_apart(own)
        both = {**_told_apart(package), **self._own}
        self.by_name = {name: both[name] for name in sorted(both)}

    def find(self, device_id: bytes, frames: Sequence[Frame] = ()) -> Profile | None:
        """The closest model of a meter; a model with a fingerprint only where `frames` of this meter show it."""
        best: tuple[int, bool, bool] | None = None
        found: Profile | None = None
        for profile in self.by_name.values():
            closeness, print_ = profile.closeness(device_id), profile.fingerprint
            if not closeness or (print_ is not None and not print_.shown_by(frames)):
                continue
            rank = (closeness, profile.name in self._own, print_ is not None)
            if best is None or rank > best:
                best, found = rank, profile
        return found

    def of(self, device_id: bytes, frames: Sequence[Frame] = ()) -> Profile:
        """The same. Raises DataError `wire.profile` when none fits."""
        found = self.find(device_id, frames)
        if found is None:
            raise DataError(
                "wire.profile",
                f"No meter profile detects {device_id.hex()}; add one under wire/profiles for this type.",
            )
        return found


def _told_apart(found: Iterable[Profile]) -> dict[str, Profile]:
    listed = list(found)
    for one, other in combinations(listed, 2):
        if one.name == other.name:
            raise DataError("wire.profile", f"Two meter profiles are named {one.name}; rename one.")
        if ambiguous(one, other):
            raise DataError(
                "wire.profile",
                f"The meter profiles {one.name} and {other.name} detect the same meters; let one fix more digits of "
                "the number, or give both a fingerprint that excludes the other.",
            )
    return {profile.name: profile for profile in listed}


@cache
def models() -> Models:
    """The meter models that come with the package."""
    entries = files("meterseal.wire").joinpath("profiles").iterdir()
    texts = {entry.name: entry.read_text("utf-8") for entry in entries if entry.name.endswith(".toml")}
    return Models((), [parse_profile(texts[name]) for name in sorted(texts)])


def profiles() -> dict[str, Profile]:
    """All meter models that come with the package, by name."""
    return models().by_name


def no_model(name: str, known: Collection[str] = ()) -> str:
    """What to say of a name that no model has, with the nearest that there are; `known` beside the package's."""
    near = get_close_matches(name, sorted({*models().by_name, *known}), n=3)
    nearest = f"; the nearest: {', '.join(near)}" if near else ""
    return f"`{name[:60]}` is no meter model{nearest}. See: meterseal device models"


def profile_of(device_id: bytes, frames: Sequence[Frame] = ()) -> Profile:
    """The model of a meter by its device id and what is known of its frames.

    Raises DataError `wire.profile` when none fits.
    """
    return models().of(device_id, frames)


def largest_data(device_id: bytes, *, up: bool) -> int:
    """Largest L of an encrypted data field for this meter; a meter without profile has its protocol's."""
    profile = models().find(device_id)
    if profile is not None:
        return profile.limits.up if up else profile.limits.down
    return (192 if device_id[:1] == b"\xd7" else 96) if up else 48
