"""What the utility asks of its neighbours: stored measurements.

Protocols and nothing else; the store of measurements satisfies them, tests bring twins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class RegisterColumns(Protocol):
    """Visible register readings of one channel, one row a reading, sorted by `end_at` without repeats.

    `end_at` int64 Unix milliseconds; `register` int64, value = register * 10**exponent in `unit` (any number
    where quality is MISSING); `quality` int8 `model.Quality`; `origin` int8, 0 sealed by the meter's module,
    1 vouched for by a concentrator; `uncertainty` how many last digits an estimate may be off, in nine cases of ten,
    None where that is not known.
    """

    @property
    def end_at(self) -> NDArray[np.int64]: ...
    @property
    def register(self) -> NDArray[np.int64]: ...
    @property
    def quality(self) -> NDArray[np.int8]: ...
    @property
    def origin(self) -> NDArray[np.int8]: ...
    @property
    def uncertainty(self) -> Sequence[int | None]: ...
    @property
    def exponent(self) -> int: ...
    @property
    def unit(self) -> str: ...


class EvidenceFacts(Protocol):
    """A meter's own statement about one register (LINK section 4), and what its check said.

    `checked`: "signed" (suite 1, signature and chain hold), "mac" (suite 2, likewise), "chain-open" (good,
    the chain cannot be followed because readings are missing), "chain-broken" (good, but the stored load
    profile is not the one the meter signed), "bad" (signature or mac does not hold).
    """

    @property
    def device_id(self) -> bytes: ...
    @property
    def end_at(self) -> int: ...
    @property
    def register(self) -> int: ...
    @property
    def exponent(self) -> int: ...
    @property
    def sequence(self) -> int: ...
    @property
    def suite(self) -> int: ...
    @property
    def checked(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def statement(self) -> bytes: ...
    @property
    def signature(self) -> bytes: ...


class Measurements(Protocol):
    """The read side of the store of measurements."""

    def registers(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> RegisterColumns:
        """Return the visible readings with since <= end_at <= until (both ends: registers are boundaries).

        With `as_of`, as they were visible then.
        """

    def evidence_between(
        self, usage_point: str, channel: int, since: int, until: int
    ) -> Sequence[EvidenceFacts]:
        """Return the checked evidence for registers with since <= end_at <= until, oldest first."""

    def standing(self, now: int) -> Measurements:
        """Return the same with no reading that is stored later; what was visible at `now` is told by them from here on."""
