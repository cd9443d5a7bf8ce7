"""Station MDMS, no end: the bound of a period that none was stated of."""

from __future__ import annotations

EVER = 1 << 62
"""After every instant, and above every number that is given out."""
