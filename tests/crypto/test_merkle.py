"""RFC 6962's tree with SM3, held against the definition written out slowly."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from meterseal.crypto import merkle
from meterseal.crypto.symmetric import sm3
from meterseal.errors import LocalError


def slow_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sm3(b"")
    if len(leaves) == 1:
        return sm3(b"\x00" + leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sm3(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:]))


def slow_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*slow_path(m, leaves[:k]), slow_root(leaves[k:])]
    return [*slow_path(m - k, leaves[k:]), slow_root(leaves[:k])]


def slow_proof(m: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [slow_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*slow_proof(m, leaves[:k], whole), slow_root(leaves[k:])]
    return [*slow_proof(m - k, leaves[k:], False), slow_root(leaves[:k])]


LEAVES = [bytes([number]) * (number % 5) for number in range(40)]
"""Contents of different lengths, an empty one among them."""


def node_at(level: int, index: int) -> bytes:
    width = 1 << level
    part = LEAVES[index * width : (index + 1) * width]
    assert len(part) == width, "only complete subtrees may be asked for"
    return slow_root(part)


ROOTS = [slow_root(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def test_roots_and_proofs_are_those_of_the_definition_for_every_size_and_leaf() -> None:
    for size in range(len(LEAVES) + 1):
        assert merkle.root(size, node_at) == ROOTS[size]
        for index in range(size):
            path = merkle.inclusion(index, size, node_at)
            assert path == slow_path(index, LEAVES[:size])
            assert merkle.included(merkle.leaf_hash(LEAVES[index]), index, size, path, ROOTS[size])
        for old in range(1, size + 1):
            proof = merkle.consistency(old, size, node_at)
            assert proof == slow_proof(old, LEAVES[:size])
            assert merkle.consistent(old, ROOTS[old], size, ROOTS[size], proof)
    assert merkle.consistent(0, ROOTS[0], 7, ROOTS[7], merkle.consistency(0, 7, node_at))


def test_the_empty_tree_and_one_leaf_are_known_by_their_values() -> None:
    assert merkle.EMPTY.hex() == "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b"
    assert merkle.root(0, node_at) == merkle.EMPTY
    assert merkle.leaf_hash() == sm3(b"\x00")
    assert merkle.leaf_hash(b"a", b"b") == merkle.leaf_hash(b"ab") == sm3(b"\x00ab")


def test_a_proof_is_of_one_leaf_at_one_place_in_one_tree() -> None:
    size = 21
    for index in range(size):
        leaf, path = merkle.leaf_hash(LEAVES[index]), merkle.inclusion(index, size, node_at)
        assert not merkle.included(merkle.leaf_hash(b"another"), index, size, path, ROOTS[size])
        assert not merkle.included(leaf, (index + 1) % size, size, path, ROOTS[size])
        assert not merkle.included(leaf, index, size, path, ROOTS[size - 1])
        assert not merkle.included(leaf, index, size, [*path, bytes(32)], ROOTS[size])
        assert not merkle.included(leaf, index, size, path[:-1], ROOTS[size])
        assert not merkle.included(leaf, index, size, path[::-1], ROOTS[size]) or path == path[::-1]
    path = merkle.inclusion(3, size, node_at)
    leaf = merkle.leaf_hash(LEAVES[3])
    for bad in (-1, size, size + 1):
        assert not merkle.included(leaf, bad, size, path, ROOTS[size])
    assert not merkle.included(leaf, 3, size, [one[:-1] for one in path], ROOTS[size])
    assert not merkle.included(leaf[:-1], 3, size, path, ROOTS[size])
    assert not merkle.included(leaf, 3, size, [bytes(32)] * 100, ROOTS[size])


def test_no_other_beginning_is_consistent() -> None:
    generator = random.Random(6962)
    for old in range(1, 33):
        for new in range(old, 33):
            proof = merkle.consistency(old, new, node_at)
            forged = bytes(generator.randrange(256) for _ in range(32))
            assert not merkle.consistent(old, forged, new, ROOTS[new], proof)
            assert not merkle.consistent(old, ROOTS[old], new, forged, proof)
            assert not merkle.consistent(old, ROOTS[old], new, ROOTS[new], [*proof, forged])
            if proof:
                assert not merkle.consistent(old, ROOTS[old], new, ROOTS[new], proof[:-1])
                changed = list(proof)
                changed[generator.randrange(len(proof))] = forged
                assert not merkle.consistent(old, ROOTS[old], new, ROOTS[new], changed)
    assert not merkle.consistent(0, ROOTS[1], 5, ROOTS[5], [])
    assert not merkle.consistent(6, ROOTS[6], 5, ROOTS[5], [])
    assert not merkle.consistent(3, ROOTS[3], 3, ROOTS[4], [])


def test_sizes_that_are_none_are_refused() -> None:
    for ask in (
        lambda: merkle.root(-1, node_at),
        lambda: merkle.inclusion(5, 5, node_at),
        lambda: merkle.inclusion(-1, 5, node_at),
        lambda: merkle.consistency(6, 5, node_at),
        lambda: merkle.consistency(-1, 5, node_at),
    ):
        with pytest.raises(LocalError) as refused:
            ask()
        assert refused.value.code == "crypto.tree"
