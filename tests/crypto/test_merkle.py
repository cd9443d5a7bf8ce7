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
            if old != new:
                assert not merkle.consistent(old, ROOTS[old], new, ROOTS[new], [])
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


def test_a_tree_has_fewer_than_2_to_the_63_leaves() -> None:
    """The largest proof that there is holds, and one leaf more is no size."""

    def same(level: int, index: int) -> bytes:
        return SAME[level]

    most, over = 2**63 - 1, 2**63
    whole = merkle.root(most, same)
    path = merkle.inclusion(5, most, same)
    assert len(path) == 63
    assert merkle.included(SAME[0], 5, most, path, whole)
    proof = merkle.consistency(3, most, same)
    assert len(proof) == 64
    assert merkle.consistent(3, merkle.root(3, same), most, whole, proof)
    for ask in (
        lambda: merkle.root(over, same),
        lambda: merkle.inclusion(0, over, same),
        lambda: merkle.consistency(1, over, same),
    ):
        with pytest.raises(LocalError) as refused:
            ask()
        assert refused.value.code == "crypto.tree"
    for level in (62, 63):
        size, holds = 2**level, level < 63
        assert merkle.included(SAME[0], 0, size, SAME[:level], SAME[level]) is holds
        half = [SAME[level - 1]]
        assert merkle.consistent(size // 2, SAME[level - 1], size, SAME[level], half) is holds


SAME = [sm3(b"\x00")]
for _ in range(63):
    SAME.append(sm3(b"\x01", SAME[-1], SAME[-1]))
"""By level, the hash over so many empty leaves."""


def test_a_leaf_behind_the_last_is_in_no_tree() -> None:
    for leaf in (merkle.leaf_hash(b"x"), merkle.EMPTY):
        assert merkle.included(leaf, 0, 1, [], leaf)
        assert not merkle.included(leaf, 1, 1, [], leaf)
        assert not merkle.included(leaf, 0, 0, [], leaf)


def test_bytes_moved_from_a_hash_to_its_neighbour_make_no_proof() -> None:
    """SM3(01 ‖ left ‖ right) is the same wherever the border between left and right lies."""
    left, right, other = (merkle.leaf_hash(bytes((at,))) for at in range(3))
    two = merkle.node_hash(left, right)
    four = merkle.node_hash(two, other)
    assert merkle.included(left, 0, 2, [right], two)
    assert merkle.consistent(2, two, 4, four, [other])
    for by in (1, 16, 31):
        assert merkle.node_hash(left + right[:by], right[by:]) == two
        assert not merkle.included(left + right[:by], 0, 2, [right[by:]], two)
        assert not merkle.included(right[by:], 1, 2, [left + right[:by]], two)
        assert not merkle.consistent(2, two + other[:by], 4, four, [other[by:]])
    assert not merkle.included(left[:-1], 0, 1, [], left[:-1])
