"""Station crypto, hash tree: RFC 6962's tree with SM3, its roots, and proofs that leaves and older trees are in it.

It keeps no tree and reads no file: whoever keeps one hands over `node_at`, and whoever checks has the proof alone.

A leaf is SM3(00 ‖ content), an inner node SM3(01 ‖ left ‖ right), the empty tree SM3(): RFC 6962 section 2.1. `node_at`
(level, index) gives the hash over the 2**level leaves from index * 2**level on; it is asked for complete subtrees alone,
at most twice the logarithm of the size of them for one proof. Sizes are below 2**63.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meterseal.crypto.symmetric import DIGEST, equal, sm3
from meterseal.errors import LocalError

NodeAt = Callable[[int, int], bytes]
"""(level, index) to the hash of a complete subtree."""

EMPTY = sm3(b"")
"""Root of the tree without leaves."""
LARGEST = 1 << 63


def leaf_hash(*content: bytes) -> bytes:
    """SM3(00 ‖ content)."""
    return sm3(b"\x00", *content)


def node_hash(left: bytes, right: bytes) -> bytes:
    """SM3(01 ‖ left ‖ right)."""
    return sm3(b"\x01", left, right)


def root(size: int, node_at: NodeAt) -> bytes:
    """Root of the first `size` leaves. LocalError `crypto.tree` for a negative size."""
    _check(0 <= size < LARGEST, f"There is no tree of {size} leaves.")
    return _span(0, size, node_at) if size else EMPTY


def inclusion(index: int, size: int, node_at: NodeAt) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 section 2.1.1), from the leaf upward.

    LocalError `crypto.tree` unless 0 <= index < size.
    """
    _check(0 <= index < size < LARGEST, f"Leaf {index} is not in a tree of {size} leaves.")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _half(end - start)
        if index < middle:
            path.append(_span(middle, end, node_at))
            end = middle
        else:
            path.append(_span(start, middle, node_at))
            start = middle
    return path[::-1]


def consistency(old: int, new: int, node_at: NodeAt) -> list[bytes]:
    """The proof that the tree of `old` leaves is the beginning of that of `new` (RFC 6962 section 2.1.2).

    Empty when `old` is 0 or `new`. LocalError `crypto.tree` unless 0 <= old <= new.
    """
    _check(0 <= old <= new < LARGEST, f"A tree of {old} leaves is not the beginning of one of {new}.")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _half(end - start)
        if old <= middle:
            path.append(_span(middle, end, node_at))
            end = middle
        else:
            path.append(_span(start, middle, node_at))
            start, whole = middle, False
    if not whole:
        path.append(_span(start, end, node_at))
    return path[::-1]


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Does the audit path lead from this leaf hash to the root? (RFC 9162 section 2.1.3.2.)"""
    if not 0 <= index < size < LARGEST or not _sound(path, leaf, expected):
        return False
    position, last, value = index, size - 1, leaf
    for step in path:
        if not last:
            return False
        if position & 1 or position == last:
            value = node_hash(step, value)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, step)
        position, last = position >> 1, last >> 1
    return not last and equal(value, expected)


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Is the tree of `old` leaves and this root the beginning of that of `new`? (RFC 9162 section 2.1.4.2.)"""
    if not 0 <= old <= new < LARGEST or not _sound(path, old_root, new_root):
        return False
    if old == new:
        return not path and equal(old_root, new_root)
    if not old:
        return not path and equal(old_root, EMPTY)
    steps = list(path)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if not last:
            return False
        if position & 1 or position == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, step)
        position, last = position >> 1, last >> 1
    return not last and equal(before, old_root) and equal(after, new_root)


def _span(start: int, end: int, node_at: NodeAt) -> bytes:
    """Hash over the leaves start..end, where start is a multiple of the power of two that covers them."""
    width = end - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node_at(level, start >> level)
    middle = start + _half(width)
    return node_hash(_span(start, middle, node_at), _span(middle, end, node_at))


def _half(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << (width - 1).bit_length() - 1


def _sound(path: Sequence[bytes], *hashes: bytes) -> bool:
    """Are all of one size? Else a byte could move from a hash to its neighbour, and the node over both stay the same."""
    return all(len(one) == DIGEST for one in (*path, *hashes))


def _check(holds: bool, sentence: str) -> None:
    if not holds:
        raise LocalError("crypto.tree", f"{sentence} Ask with the sizes of checkpoints.")
