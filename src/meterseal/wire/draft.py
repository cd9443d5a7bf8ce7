"""Station wire, the draft: captured frames of a meter become a model's data file that holds.

It reads no file and writes none. What the frames do not show is left at its default, and what does not fit the model
that most of them make is left out and named.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from meterseal.errors import DataError
from meterseal.wire.captured import Common, Seen, frames_in, one_kind
from meterseal.wire.catalogue import FIELDS
from meterseal.wire.profile import models
from meterseal.wire.profile_file import parse_profile
from meterseal.wire.sheet import printed
from meterseal.wire.tree import TITLES

ANY_645: Final = "D700"
MOST_PATTERNS: Final = 16
LIMITS: Final = {"cjt188": (96, 48), "dlt645": (192, 48)}


class Draft(Struct, frozen=True):
    """The data file's text, its name, the package's own model of such meters where it has one, and sentences about
    what was seen and what was left out.
    """

    name: str
    text: str
    known: str | None
    seen: tuple[str, ...]
    left_out: tuple[str, ...]


def draft(lines: Iterable[str], name: str | None = None) -> Draft:
    """A model of the meters whose frames stand in these lines, one or more a line, in any form `decode` takes.

    Raises DataError `wire.profile` when there is no frame of a meter, or none that the model would make again.
    """
    seen, faults = frames_in(lines)
    model = _Writer(Common(one_kind(seen, faults)), name)
    good, failed = model.tried()
    if not good:
        model.habits = {}
        good, failed = model.tried()
    if not good:
        raise DataError(
            "wire.profile",
            f"No captured frame makes a meter profile: {failed[0]} Capture an answer of the meter.",
        )
    text = model.text(good)
    parse_profile(text)
    return Draft(model.name, text, model.known, tuple(model.sentences()), (*faults, *failed))


class _Writer:
    """The data file of a model, as far as it has come."""

    def __init__(self, common: Common, name: str | None) -> None:
        self.common, self.name = common, name or common.name
        self.habits: dict[str, Any] = dict(common.habits)
        self.detect = list(common.detect)
        self.known = self._closer()

    def _closer(self) -> str | None:
        """The package's own model of such meters; the new one fixes as many digits as it does, so as to be chosen."""
        known: str | None = None
        for device_id in sorted({one.frame.device_id for one in self.common.named}):
            frames = [one.frame for one in self.common.named if one.frame.device_id == device_id]
            found, digits = models().find(device_id, frames), device_id.hex().upper()
            if found is None or found.name.endswith("-generic"):
                continue
            known = min(known or found.name, found.name)
            close = max(len(one) for one in self.detect if digits.startswith(one))
            if found.closeness(device_id) > close and len(self.detect) < MOST_PATTERNS:
                self.detect.append(digits[: found.closeness(device_id)])
        return known

    def tried(self) -> tuple[list[Seen], list[str]]:
        """The frames that the model makes again, and why it does not make the others."""
        good: list[Seen] = []
        failed: list[str] = []
        for one in self.common.vectors():
            fault = self._fault(one)
            if fault and one.up and all(other.meaning.di != one.meaning.di for other in good):
                fault = self._fault(one, opaque=True)
            if fault:
                failed.append(f"{one.frame.encode().hex().upper()}: {fault}")
            else:
                good.append(one)
        return good, failed

    def _fault(self, one: Seen, *, opaque: bool = False) -> str:
        """Why the model does not make this frame again, or nothing.

        `opaque` lets it carry the bytes of the identifier as they are, which stays so where it helps.
        """
        before = self.habits
        if opaque and one.meaning.di_text is not None and self.common.protocol == "cjt188":
            payloads = {**before.get("payloads", {}), one.meaning.di_text: ["payload"]}
            self.habits = {**before, "payloads": payloads}
        try:
            parse_profile(self.text([one]))
        except DataError as error:
            self.habits = before
            return error.message
        return ""

    def sentences(self) -> list[str]:
        """What was seen, a sentence each."""
        common = self.common
        meters = sorted({printed(one.frame.address) for one in common.named})
        said = [
            f"{_counted(len(common.seen), 'frame')}, {len(common.up)} of them answers or reports, of "
            f"{_counted(len(meters), 'meter')} ({', '.join(meters[:3])}{', …' * (len(meters) > 3)})."
        ]
        if self.common.protocol == "cjt188":
            said.append(f"Requests send identifiers {self.common.di_order} byte first.")
        odd = Counter(line.partition(":")[0] for one in self.common.named for line in one.meaning.anomalies)
        if odd:
            said.append(
                f"Unusual in them: {', '.join(f'{code} ({count})' for code, count in odd.most_common())}."
            )
        return said

    def text(self, vectors: Sequence[Seen]) -> str:
        """The data file."""
        up, down = LIMITS[self.common.protocol]
        numbers = f" of the numbers {self.detect[0][2:]}" if len(self.detect[0]) > len(ANY_645) else ""
        title = f"{self.common.medium.capitalize()} meter{numbers}, {TITLES[self.common.protocol]}"
        opaque = {di for di, fields in self.habits.get("payloads", {}).items() if fields == ["payload"]}
        readings = {
            key: value
            for one in vectors
            if not (one.up and one.meaning.di_text in opaque)
            for key, value in one.meaning.readings.items()
        }
        lines = [
            f"# {title}.",
            f"name = {_quoted(self.name)}",
            f"title = {_quoted(title)}",
            f"medium = {_quoted(self.common.medium)}",
            f"protocol = {_quoted(self.common.protocol)}",
            f"detect = {_inline(self.detect)}",
            f"di_order = {_quoted(self.common.di_order)}",
            f"valve = {'true' if self.common.valve else 'false'}",
            f"doc = {_quoted(' '.join(self.sentences()))}",
            "",
            "[limits]",
            f"up = {up}",
            f"down = {down}",
            "",
            "[timing]",
            f"preamble_up = {self.common.preamble_up}",
            f"preamble_down = {self.common.preamble_down}",
        ]
        if self.habits:
            lines += [
                "",
                f"[{self.common.protocol}]",
                *(f"{key} = {_inline(value)}" for key, value in self.habits.items()),
            ]
        lines += ["", "[fields]"]
        for key, value in readings.items():
            seen = f"{value.shown} {value.unit or ''}".rstrip()
            lines.append(f"{key}.doc = {_quoted(_about(key, seen))}")
        for one in vectors:
            lines += ["", "[[vectors]]", *self._vector(one, opaque)]
        return "\n".join(lines) + "\n"

    def _vector(self, one: Seen, opaque: set[str]) -> list[str]:
        meaning = one.meaning
        usual = self.common.preamble_up if one.up else self.common.preamble_down
        raw = b"\xfe" * (usual if one.preamble == usual else 0) + one.frame.encode()
        lines = [f"hex = {_quoted(raw.hex().upper())}"]
        if one.up and meaning.di_text in opaque:
            return lines
        if meaning.readings:
            read = {
                key: f"{value.shown} {value.unit or ''}".rstrip() for key, value in meaning.readings.items()
            }
            lines.append(f"readings = {_inline(read)}")
        if any(part.name in ("clock", "standard time") for part in meaning.parts):
            lines.append(
                f"clock = {_quoted(meaning.clock or '' if meaning.clock_at is not None else 'unset')}"
            )
        if meaning.status is not None:
            lines.append(f"status = {_quoted(meaning.status.raw)}")
        return lines


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _about(key: str, seen: str) -> str:
    row = FIELDS.get(key)
    chinese = f" ({row.chinese})" if row is not None else ""
    return f"{key.replace('_', ' ').capitalize()}{chinese}; it read {seen} when it was captured."


def _quoted(text: str) -> str:
    """A TOML string. JSON's escapes are TOML's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _inline(value: object) -> str:
    """A TOML value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_quoted(str(key))} = {_inline(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(one) for one in value) + "]"
    return str(value) if isinstance(value, int) else _quoted(str(value))
