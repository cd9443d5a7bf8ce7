"""T3 and T7: no nonce twice over many processes, and no secret compared but in constant time."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest

import meterseal
from meterseal.crypto import symmetric
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.link import records
from meterseal.link.schedule import TrafficKeys
from tests.headend.ground import water

PROCESSES = 8
KEY = SymmetricKey.generate("a key that all processes inherit")
TRAFFIC = TrafficKeys(*(os.urandom(size) for size in (16, 32, 16, 16, 32, 16)))


def forked(work) -> list[bytes]:  # type: ignore[no-untyped-def]
    """What each of the processes wrote; all are forked at one point, so that they share all state."""
    pipes = []
    for number in range(PROCESSES):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(read)
                with os.fdopen(write, "wb") as out:
                    out.write(work(number))
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        pipes.append((child, read))
    found = []
    for child, read in pipes:
        with os.fdopen(read, "rb") as stream:
            found.append(stream.read())
        assert os.waitpid(child, 0)[1] == 0
    return found


SEALS = [pytest.param(2_000, id="cut"), pytest.param(1_250_000, id="full", marks=pytest.mark.soak)]


@pytest.mark.parametrize("count", SEALS)
def test_t3_no_gcm_nonce_repeats_over_forked_processes(count: int) -> None:
    size = symmetric.GCM_NONCE
    made = forked(lambda _: b"".join(KEY.gcm_seal(b"", b"")[:size] for _ in range(count)))
    nonces = np.frombuffer(b"".join(made), dtype="u4").reshape(-1, size // 4)
    assert len(nonces) == PROCESSES * count
    assert len(np.unique(nonces, axis=0)) == len(nonces)


def test_t3_no_signature_nonce_repeats_over_forked_processes() -> None:
    """r of SM2 is (e + x of kG) mod n: the same r over the same message is the same k, and gives the key away."""
    key = Sm2PrivateKey.generate("a key that all processes inherit")
    made = forked(lambda _: b"".join(key.sign(b"the same message")[:32] for _ in range(50)))
    found = [one[at : at + 32] for one in made for at in range(0, len(one), 32)]
    assert len(found) == len(set(found)) == PROCESSES * 50


@pytest.mark.parametrize(
    "count", [pytest.param(500, id="cut"), pytest.param(20_000, id="full", marks=pytest.mark.soak)]
)
def test_t3_no_iv_of_a_record_repeats_over_sessions_and_counters(count: int) -> None:
    """IVs of the first frames of records of many sessions; within a session counter and index make each its own."""
    seen: set[bytes] = set()
    frames = 4
    for _ in range(PROCESSES):
        key = os.urandom(16)
        for counter in range(1, count + 1):
            ivs = records.frame_ivs(key, counter, frames)
            seen.update(ivs[at : at + 16] for at in range(0, len(ivs), 16))
    assert len(seen) == PROCESSES * count * frames


def test_t3_the_two_ways_and_kinds_of_a_session_share_no_iv() -> None:
    """The same counter up and down: other keys, so other IVs and other ciphertext of the same frame."""
    up = records.seal_record(TRAFFIC, bytes(8), 1, [water()], up=True)
    down = records.frame_ivs(TRAFFIC.down_iv, 1, 1)
    assert records.frame_ivs(TRAFFIC.up_iv, 1, 1) != down
    assert len({records.frame_ivs(TRAFFIC.up_iv, 1 << shift, 1) for shift in range(48)}) == 48
    assert up[20:-16] not in records.seal_record(TRAFFIC, bytes(8), 2, [water()], up=True)


# --- T7 -------------------------------------------------------------------------------------------------

SECRET_WORDS = {
    "mac", "tag", "fin", "authorisation", "cookie", "proof", "cryptogram", "answer_mac", "expected_mac", "pin",
    "puk", "password", "passphrase", "seed",
}  # fmt: skip
PACKAGES = ("crypto", "link", "security", "edge", "headend", "mesh", "people")


def _words(node: ast.expr) -> set[str]:
    """The last name of what is compared: `hello.mac` -> mac; capitals are constants and no secrets."""
    if isinstance(node, ast.Attribute | ast.Name):
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        return set() if name.isupper() else {name.strip("_")}
    if isinstance(node, ast.Call):
        return _words(node.func)
    if isinstance(node, ast.Subscript):
        return _words(node.value)
    return set()


def _constant(side: ast.expr) -> bool:
    """Is this a name in capitals, a size or a kind and no secret?"""
    name = side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "")
    return bool(name) and name.isupper()


def compared_in_the_open(source: str) -> list[int]:
    """Lines that compare something named like a secret with == or !=, other than with a literal."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        if not any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops):
            continue
        if any(isinstance(side, ast.Constant) or _constant(side) for side in sides):
            continue
        if any(_words(side) & SECRET_WORDS for side in sides):
            lines.append(node.lineno)
    return lines


def test_t7_no_secret_is_compared_but_in_constant_time() -> None:
    root = Path(meterseal.__file__).parent
    found = [
        f"{path.relative_to(root)}:{line}"
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
        for line in compared_in_the_open(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["a.mac == b", "if tag != x[:16]: pass", "x = key.mac(b'') == given", "fin in known", "self._pin == pin"],
)
def test_t7_the_search_sees_a_comparison_in_the_open(line: str) -> None:
    assert compared_in_the_open(line) == [1]


def test_t7_the_one_comparison_is_that_of_the_standard_library() -> None:
    source = (Path(meterseal.__file__).parent / "crypto" / "symmetric.py").read_text()
    (function,) = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "equal"]
    assert "compare_digest" in ast.dump(function)
    assert not any(isinstance(node, ast.Compare) for node in ast.walk(function))


def t_of(first: np.ndarray, last: np.ndarray) -> float:
    """Welch's t of two samples whose slowest twentieth is cut off, as dudect does."""
    cut = np.percentile(np.concatenate([first, last]), 95)
    one, other = first[first <= cut], last[last <= cut]
    spread = one.var() / len(one) + other.var() / len(other)
    return float((one.mean() - other.mean()) / max(spread, 1e-12) ** 0.5)


@pytest.mark.parametrize(
    ("samples", "most"),
    [(20_000, 60.0), pytest.param(1_000_000, 4.5, marks=pytest.mark.soak)],
    ids=["smoke", "full"],
)
def test_t7_a_mismatch_in_the_first_byte_takes_as_long_as_in_the_last(samples: int, most: float) -> None:
    """Interleaved at random; a comparison that stops early over 4 kB would be far beyond the smoke's bound as well."""
    good = os.urandom(32)
    tries = [bytes((good[0] ^ 1,)) + good[1:], good[:-1] + bytes((good[-1] ^ 1,))]
    random, clock = Random(7), time.perf_counter_ns
    taken: tuple[list[int], list[int]] = ([], [])
    for _ in range(samples):
        which = random.getrandbits(1)
        one = tries[which]
        began = clock()
        same = symmetric.equal(good, one)
        taken[which].append(clock() - began)
        assert not same
    assert abs(t_of(np.array(taken[0]), np.array(taken[1]))) < most


def test_t7_the_statistic_sees_a_comparison_that_stops_early() -> None:
    """Against an early stop of our own making, so that the trial above is known to see one."""

    def early(one: bytes, other: bytes) -> bool:
        return all(a == b for a, b in zip(one, other, strict=True))

    good = os.urandom(32)
    tries = [bytes((good[0] ^ 1,)) + good[1:], good[:-1] + bytes((good[-1] ^ 1,))]
    taken: tuple[list[int], list[int]] = ([], [])
    for at in range(4_000):
        began = time.perf_counter_ns()
        early(good, tries[at % 2])
        taken[at % 2].append(time.perf_counter_ns() - began)
    assert abs(t_of(np.array(taken[0]), np.array(taken[1]))) > 60.0
