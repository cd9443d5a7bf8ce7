"""Station MDMS, progress: how far a walk over the whole store is, and the wish that it end. It walks nowhere itself."""

from __future__ import annotations

from meterseal.errors import EngineError

CHECKING, GATHERING, COMPARING = "leaves hashed", "leaves gathered", "rows compared"


class Progress:
    """Told by the walk from any thread, asked by whoever waits for it."""

    def __init__(self) -> None:
        self.stage = "the journal"
        self.done = self.of = 0
        self.faults = 0
        self._ended = False

    def begin(self, stage: str, of: int) -> None:
        """The next stage, with so much to do."""
        self.stage, self.done, self.of = stage, 0, of

    def step(self, count: int) -> None:
        """So much more is done. EngineError `ledger.stopped` once somebody wished it to end."""
        self.done += count
        if self._ended:
            raise EngineError(
                "ledger.stopped", f"The comparison was ended before it was through: {self.says}."
            )

    def end(self) -> None:
        """Let the walk end at its next step."""
        self._ended = True

    @property
    def says(self) -> str:
        """Where it stands, as a person reads it."""
        far = f"{self.done:,} of {self.of:,} {self.stage}" if self.of else self.stage
        return f"{far}; {self.faults} faults so far" if self.faults else far
