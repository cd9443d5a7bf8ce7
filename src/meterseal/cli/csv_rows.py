"""Rows of CSV files that people hand in: bounded, with named columns, and one sentence for what is wrong where.

What the rows mean is for the command that reads them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from meterseal.errors import LocalError
from meterseal.mdms.fact import MOST

LARGEST = 32 * 1024 * 1024


def rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV that has these columns; LocalError `use.file`, `use.csv`."""
    try:
        if file.stat().st_size > LARGEST:
            raise LocalError("use.csv", f"{file} has more than {LARGEST >> 20} MiB; cut it by years.")
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise LocalError("use.file", f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise LocalError("use.csv", f"{file} is no text in UTF-8; save it as CSV UTF-8.") from None
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        if set(columns) - set(reader.fieldnames or ()):
            raise LocalError(
                "use.csv", f"{file} needs the columns {' and '.join(columns)} in its first line."
            )
        for row in reader:
            if reader.line_num > MOST:
                raise LocalError("use.csv", f"{file} has more than {MOST} lines; cut it by years.")
            yield reader.line_num, {name: row[name] or "" for name in columns}
    except csv.Error as error:
        raise LocalError("use.csv", f"{file} is no CSV ({error}); save it as CSV with commas.") from None


def wrong(file: Path, line: int, wanted: str) -> LocalError:
    return LocalError("use.csv", f"{file}, line {line}: wanted is {wanted}. Nothing was taken.")
