"""The symbolic model says what the code does: its transcripts, macs and keys, composed from a real run, are the code's.

Where ProVerif is installed its verdicts are compared as well; `make model` does the same for a person.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from meterseal.crypto.symmetric import hkdf_expand_each, hkdf_extract, hmac_sm3, sm3
from meterseal.link import messages, proving, schedule
from tests.link.vectors import SUITES, Run

MODEL = Path(__file__).parents[2] / "model"
FILES = sorted(path.name for path in MODEL.glob("*.pv"))
both = pytest.mark.parametrize("run", SUITES, ids=["suite 1", "suite 2"])

DIFFERENCES = {
    "link-diak-leaked.pv": ({"   | out(c, diak)"}, set()),
    "link-signing-keys-leaked.pv": ({"   | out(c, (caSK, skd, skp))"}, set()),
    "link-both-leaked.pv": ({"   | out(c, (caSK, skd, skp, diak))"}, set()),
    "link-forward-secrecy.pv": ({"   | (phase 1; out(c, (skd, skp, caSK, diak)))"}, set()),
    "link-check-removed.pv": (
        {"   | out(c, diak)"},
        {
            "  let cert(=LRolePlat, =plat, =proj, ppk) = sigok(pcrt, ca) in",
            "  if sigok(sg, ppk) = (LPlatform, th2) then",
        },
    ),
}
"""What a file has that `link.pv` has not, and the checks that it leaves out."""


@cache
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_run", MODEL / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def text(name: str = "link.pv") -> str:
    return (MODEL / name).read_text(encoding="utf-8")


def process(name: str) -> str:
    """The lines of one `let Name(…) =` process."""
    return re.split(r"\n\n|\nlet ", text().split(f"let {name}(", 1)[1])[0]


def terms(inside: str) -> list[str]:
    """The elements of a tuple or argument list, split at its own commas."""
    found, depth, at = [], 0, 0
    for end, sign in enumerate(inside + ","):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            found.append(inside[at:end].strip())
            at = end + 1
    return found


def call_of(source: str, pattern: str) -> list[str]:
    """The arguments of the first call behind a pattern such as `let th1 = h`."""
    start = re.search(pattern + r"\s*\(", source)
    assert start is not None, f"the model has no {pattern}"
    depth, at = 1, start.end()
    while depth:
        depth += (source[at] == "(") - (source[at] == ")")
        at += 1
    return terms(source[start.end() : at - 1])


@cache
def labels() -> dict[str, bytes]:
    table = text().split("What the labels stand for in the code", 1)[1].split("*)", 1)[0]
    rows = re.findall(r"^   (L\w+)\s+((?:\S+ )*\S+)  +", table, re.MULTILINE)
    return {name: label.encode() for name, label in rows}


class Real:
    """The names of the model with the bytes of a run."""

    def __init__(self, run: Run) -> None:
        platform = messages.parse_platform(run.platform)
        hello = messages.parse_hello(run.hello)
        chain = run.platform[platform.chain_at : platform.signature_at]
        self.run, self.platform = run, platform
        self.values = {
            "hello": run.hello,
            f"s{run.suite}": bytes((run.suite,)),
            "d": hello.device_id,
            "m": hello.module_id,
            "kv": bytes((hello.key_version,)),
            "nd": hello.nonce,
            "exp(g,x)": hello.point,
            "sid": platform.session_id,
            "np": platform.nonce,
            "E_p": platform.point,
            "pcrt": chain,
            "sg": platform.signature,
            "fin": platform.fin,
            "dev": run.device,
        }

    def joined(self, names: list[str]) -> bytes:
        """A transcript: HELLO whole, then the header of PLATFORM and its fields, as the code hashes them."""
        parts = [self.values[name] for name in names]
        if names[0] == "hello":
            parts.insert(1, self.run.platform[: messages.HEADER])
        return b"".join(parts)

    def transcript(self, source: str, which: str) -> bytes:
        (inner,) = call_of(source, rf"let {which} = h")
        return sm3(self.joined(terms(inner[1:-1])))


@both
@pytest.mark.parametrize("side", ["Device", "Platform"])
def test_each_transcript_of_the_model_is_the_codes(run: Run, side: str) -> None:
    real, source = Real(run), process(f"{side}{run.suite}")
    code = proving.Transcript(run.hello, run.platform, real.platform.chain_at, real.platform.signature_at)
    assert real.transcript(source, "th1") == code.th1
    if run.suite == 1:
        assert real.transcript(source, "th2") == code.th2
    else:
        assert code.th2 == code.th1, "without a chain th2 ends where th1 does, and the model has one for both"
    assert real.transcript(source, "th3") == code.th3
    assert real.transcript(source, "th4") == code.th4(run.device)


@both
def test_the_mac_of_hello_and_the_order_of_its_fields(run: Run) -> None:
    real, source = Real(run), process(f"Device{run.suite}")
    fields = call_of(source, "let b = ")
    mac = call_of(source, "let hello = ")[2]
    assert mac == "hmac(kl, (LHello, b))"
    body = labels()["LHello"] + real.joined(fields)
    assert messages.parse_hello(run.hello).mac == run.key("k_link").mac(body)[: schedule.MAC]
    read = re.search(r"let \((=s\d.*)\) = b in", process(f"Platform{run.suite}"))
    assert read is not None
    named = [one.split(":")[0].lstrip("=") for one in terms(read.group(1))]
    assert named == [{"exp(g,x)": "E_d"}.get(one, one) for one in fields]


@both
def test_secrets_and_fin_of_the_model_are_the_codes(run: Run) -> None:
    real = Real(run)
    transcripts = {"th1": run.th1, "th2": run.th2, "th3": run.th3}
    device = Real(run).run.suite
    for side, names in (("Device", ("kl", "nd", "np")), ("Platform", ("kl", "nd", "np"))):
        source = process(f"{side}{device}")
        exchange, _ = call_of(source, "let hs = extract")
        assert tuple(terms(exchange[3:-1])) == names
        fin_p, fin_d = fins(source)
        expand = {
            label: schedule.expand(run.hs, labels()[label], transcripts[context], 32)
            for label, context in (fin_p[0], fin_d[0])
        }
        both_sides = transcripts | {"sg": real.platform.signature}
        assert hmac_sm3(expand["LFinP"], *(both_sides[one] for one in fin_p[1])) == real.platform.fin
        keys = schedule.handshake_keys(run.hs, run.th1)
        sealed = messages.parse_sealed(run.device, messages.DEVICE)
        credential = messages.parse_credential(proving.open_part(keys.up, sealed), run.suite)
        with_own = both_sides | {"sgd": credential.signature}
        assert hmac_sm3(expand["LFinD"], *(with_own[one] for one in fin_d[1])) == credential.fin
    assert run.es == run.key("k_link").mac(b"ms1 es", run.n_d, run.n_p)
    assert "let ms = mixseed(hs, seed)" in process(f"Device{device}")
    expected = schedule.expand(hkdf_extract(run.hs, run.seed), labels()["LUp"] + b" enc", run.th4, 16)
    assert expected == run.traffic.up_enc


def fins(source: str) -> list[tuple[tuple[str, str], list[str]]]:
    """Of fin_p and fin_d: label and context of the key, and what is maced."""
    found = []
    for label in ("LFinP", "LFinD"):
        match = re.search(rf"hmac\(kexp\(hs, {label}, (\w+)\), (\(.*?\)|\w+)\)", source)
        assert match is not None
        found.append(((label, match.group(1)), terms(match.group(2).strip("()"))))
    return found


def test_the_code_uses_the_labels_of_the_model_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[bytes] = set()
    honest = schedule.labelled

    def noted(label: bytes, context: bytes, size: int) -> bytes:
        used.add(label)
        return honest(label, context, size)

    expand_each = hkdf_expand_each

    def noted_each(secret: bytes, wanted: Sequence[tuple[bytes, int]]) -> list[bytes]:
        used.update(told[3 : 3 + told[2]].removeprefix(b"ms1 ") for told, _ in wanted)
        return expand_each(secret, wanted)

    monkeypatch.setattr(schedule, "labelled", noted)
    monkeypatch.setattr(schedule, "hkdf_expand_each", noted_each)
    schedule.handshake_keys(bytes(32), bytes(32))
    schedule.traffic_keys(bytes(32), bytes(32), bytes(32))
    schedule.finished(bytes(32), b"p", bytes(32), bytes(32), b"")
    schedule.finished(bytes(32), b"d", bytes(32), bytes(32), b"")
    keys = {labels()[name] for name in ("LHsUp", "LHsDown", "LUp", "LDown")}
    expected = {key + kind for key in keys for kind in (b" enc", b" mac", b" iv")}
    assert used == expected | {labels()["LFinP"], labels()["LFinD"]}
    assert schedule.signed_by_platform(b"") == labels()["LPlatform"] + b"\0"
    assert schedule.signed_by_device(b"") == labels()["LDevice"] + b"\0"
    assert len({*labels().values()}) == len(labels()) == 9


@pytest.mark.parametrize("name", [name for name in FILES if name != "link.pv"])
def test_the_other_files_are_the_same_model_with_a_leak_or_without_a_check(name: str) -> None:
    ours, theirs = (text(one).split("\n(* agreement:")[0].splitlines()[1:] for one in ("link.pv", name))
    more = {line for line in theirs if line not in ours}
    less = [line for line in difflib.ndiff(ours, theirs) if line.startswith("- ")]
    added, left_out = DIFFERENCES[name]
    assert more == set()
    assert {line[2:] for line in less} == left_out
    ends = text(name).split("process", 1)[1].splitlines()
    leaks = {line for line in ends if "out(c, " in line and line not in text()}
    assert leaks == added


def test_every_file_has_its_row_and_a_run_of_each_kind_is_expected_to_fall() -> None:
    table = runner().expected()
    assert sorted(table) == FILES
    readme = (MODEL / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in FILES)
    assert not all(holds for row in table.values() for claim, holds in row.items() if claim != "what")
    assert all(value for row in table.values() for claim, value in row.items() if "can finish" in claim)


def test_verdicts_are_read_from_what_proverif_prints() -> None:
    said = runner().claims_of(
        "RESULT inj-event(DevDone(hd[],hm[],s1[],t,k,n)) ==> inj-event(PlatRunning(hd[],hm[],s1[],t,k,n)) is false.\n"
        "RESULT (even event(DevDone(hd[],hm[],s1[],t,k,n)) ==> event(PlatRunning(hd[],hm[],s1[],t,k,n)) is false.)\n"
        "RESULT not attacker_p1(upSecret[]) is true.\n"
        "RESULT not attacker(downSecret[]) cannot be proved.\n"
        "RESULT not event(DevDone(hd2[],hm2[],s2[],t,k,n)) is false.\n"
    )
    assert said == {
        "the device's session is the platform's, suite 1": False,
        "secret upward": True,
        "can finish, suite 2": True,
    }


@pytest.mark.skipif(shutil.which("proverif") is None, reason="ProVerif is not installed")
def test_proverif_says_what_the_table_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner().main() == 0, capsys.readouterr().out


def test_without_proverif_it_says_so_and_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert runner().main() == 0
    assert "not installed" in capsys.readouterr().out
