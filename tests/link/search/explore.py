"""Breadth first through every state that a world can reach: what is visited, and the shortest way to what must not be.

It knows no protocol: a world says its first state, the moves of a state and what is broken in it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class World(Protocol[S]):
    """A game of honest machines against an attacker. States are values: equal states have equal futures."""

    def first(self) -> S:
        """Where everything begins."""

    def moves(self, state: S) -> Iterable[tuple[str, S]]:
        """Every state that one act of anybody leads to, and the act in words."""

    def broken(self, state: S) -> str:
        """The invariant that this state breaks, in words; empty when it holds."""


class Found(NamedTuple):
    """What a search found: how many distinct states, how many acts, whether all were seen, and the attack."""

    visited: int
    acts: int
    complete: bool
    broken: str
    attack: tuple[str, ...]


def explore(world: World[S], most: int = 10_000_000) -> Found:
    """Visit every state once, nearest first, until one is broken or `most` are visited."""
    first = world.first()
    came: dict[S, tuple[S, str] | None] = {first: None}
    layer, acts = [first], 0
    if wrong := world.broken(first):
        return Found(1, 0, False, wrong, ())
    while layer:
        following: list[S] = []
        for state in layer:
            for act, then in world.moves(state):
                acts += 1
                if then in came:
                    continue
                came[then] = state, act
                if wrong := world.broken(then):
                    return Found(len(came), acts, False, wrong, _way(came, then))
                if len(came) >= most:
                    return Found(len(came), acts, False, "", ())
                following.append(then)
        layer = following
    return Found(len(came), acts, True, "", ())


def _way(came: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    way = []
    step = came[state]
    while step is not None:
        state, act = step
        way.append(act)
        step = came[state]
    return tuple(reversed(way))
