"""Beside the path: numbers that look like chance and are a function of a seed and a place.

They keep nothing: whoever asks again, in another process or for other hours, gets the same number. No key comes of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64: every input bit reaches every output bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, stream: int, index: Ints) -> Floats:
    """Numbers in [0, 1), one for each index, the same for the same (seed, stream, index) everywhere."""
    key = np.full(1, seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    with np.errstate(over="ignore"):
        key = _mix(_mix(key) ^ np.uint64(stream & 0xFFFFFFFF))
        bits = _mix(index.astype(np.uint64) ^ key)
    return (bits >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def one(seed: int, stream: int, index: int) -> float:
    """One such number."""
    return float(uniform(seed, stream, np.array([index], dtype=np.int64))[0])
