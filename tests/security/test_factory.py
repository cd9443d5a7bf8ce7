"""The factory: manifests read row by row, signed as a whole, enrolled in chunks that survive a kill (issue 3)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec import structs

from meterseal.crypto.certificates import parse, verify_chain
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, TrustError
from meterseal.security import manifest as mf
from meterseal.security.manifest import CHUNK, Manifest, ProductionOrder, Row

from .conftest import NOW, PASSPHRASE, PROJECT, Bench, Module
from .people import Person, fields, founded, operator, ordered

KEY = Sm2PrivateKey.generate("the maker's station")


def row(number: int, suite: int = 1) -> Row:
    one = Module(number, suite)
    return Row(one.module_id, one.device_id, KEY.public_point, suite)


def written(rows: list[Row], batch: str = "B-7") -> str:
    lines = [f"{r.module_id.hex()},{r.device_id.hex()},{r.point.hex()},{r.suite},{batch}" for r in rows]
    return mf.template() + "\n".join(lines) + "\n"


def as_json_lines(rows: list[Row], batch: str = "B-7") -> str:
    return "".join(
        json.dumps(
            {
                "module_id": r.module_id.hex(),
                "device_id": r.device_id.hex(),
                "point": r.point.hex(),
                "suite": r.suite,
                "batch": batch,
            }
        )
        + "\n"
        for r in rows
    )


# --- reading a manifest


@pytest.mark.parametrize("write", [written, as_json_lines])
def test_a_manifest_is_read_as_it_was_written(write: object) -> None:
    rows = [row(number, 1 + number % 2) for number in range(CHUNK + 3)]
    assert callable(write)
    read = mf.read(write(rows))
    assert (read.batch, read.rows, read.refused) == ("B-7", tuple(rows), ())
    assert [len(chunk) for chunk in read.chunks()] == [CHUNK, 3]


def test_spreadsheets_marks_and_spaces_do_no_harm() -> None:
    text = "\ufeff" + written([row(1)]).replace(",", " , ")
    assert mf.read(text).rows == (row(1),)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"module_id": "0102"}, "module_id is not 16 hex digits"),
        ({"device_id": "zz78330000000001"}, "device_id is not 16 hex digits"),
        ({"point": "04" + "00" * 63}, "point is not 130 hex digits"),
        ({"suite": "3"}, "suite is not 1 or 2"),
        ({"batch": "a b"}, "batch is not 1 to 64"),
        ({"batch": "B-8"}, "one manifest is one batch"),
        ({"module_id": row(1).module_id.hex()}, "stands in row 1 already"),
        ({"device_id": row(1).device_id.hex()}, "stands in row 1 already"),
        ({"colour": "red"}, "not exactly the columns"),
    ],
    ids=[
        "module",
        "device",
        "point",
        "suite",
        "batch",
        "other batch",
        "module twice",
        "device twice",
        "column",
    ],
)
def test_a_row_that_is_wrong_is_named_with_its_number_and_reason(change: dict[str, str], says: str) -> None:
    good, bad = json.loads(as_json_lines([row(1)])), json.loads(as_json_lines([row(2)]))
    read = mf.read(json.dumps(good) + "\n" + json.dumps(bad | change) + "\n" + as_json_lines([row(3)]))
    assert [one.row for one in read.refused] == [2]
    assert says in read.refused[0].sentence
    assert read.rows == (row(1), row(3))
    with pytest.raises(LocalError) as caught:
        read.order(bytes(16), NOW, PROJECT)
    assert caught.value.code == "use.manifest"


@pytest.mark.parametrize(
    "text",
    ["", "module,device\n1,2\n", "module_id,module_id,point,suite,batch\n", mf.template() + '"', "\x00"],
    ids=["empty", "headings", "a heading twice", "open quote", "nul"],
)
def test_a_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(LocalError) as caught:
        mf.read(text).order(bytes(16), NOW, PROJECT)
    assert caught.value.code == "use.manifest"


def test_lines_that_are_no_objects_are_rows_refused() -> None:
    read = mf.read("{\n[1]\n" + '{"a": ' * 2000 + "\n" + as_json_lines([row(4)]))
    assert [one.row for one in read.refused] == [1, 2, 3]
    assert read.rows == (row(4),)


def test_a_manifest_with_too_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mf, "MOST_ROWS", 2)
    with pytest.raises(LocalError) as caught:
        mf.read(written([row(n) for n in range(3)]))
    assert caught.value.code == "use.manifest"


# --- opening and producing


def order_of(manifest: Manifest) -> ProductionOrder:
    given = fields()
    return manifest.order(given["request_id"], given["not_after"], PROJECT)  # type: ignore[arg-type]


async def opened(bench: Bench, manifest: Manifest) -> tuple[ProductionOrder, Person]:
    maker, *_ = await founded(bench, Person("maker", ("enrol",)), Person("bo"))
    order = order_of(manifest)
    await operator(bench).submit(ordered("production", order, [maker]))
    return order, maker


async def test_one_officers_signature_opens_a_production_and_its_chunks_are_enrolled(bench: Bench) -> None:
    rows = [row(number, 1 + number % 2) for number in range(CHUNK + 2)]
    manifest = mf.read(written(rows))
    order, _ = await opened(bench, manifest)
    sdk = operator(bench)
    for number, chunk in enumerate(manifest.chunks()):
        reply = await sdk.produce(order.request_id, number, chunk)
        assert reply.refused == ()
        for one, answer in zip(chunk, reply.answers, strict=True):
            assert (answer.module_id, answer.device_id, answer.suite) == (
                one.module_id,
                one.device_id,
                one.suite,
            )
            assert len(KEY.decrypt(answer.envelope)) == 32
            if one.suite == 1:
                leaf = verify_chain(answer.chain, root=answer.root, purpose="device", at=NOW)
                assert leaf.point == one.point
            assert json.loads(mf.package_line(answer))["envelope"] == answer.envelope.hex()
    state = await sdk.production(order.request_id)
    assert (state.batch, state.rows, state.chunks, state.done) == ("B-7", CHUNK + 2, 2, (0, 1))
    assert state.officers == ("maker",)
    assert (await bench.platform.usage()).modules == CHUNK + 2


async def test_a_chunk_asked_for_again_has_the_same_certificates_and_fresh_envelopes(bench: Bench) -> None:
    manifest = mf.read(written([row(1), row(2, 2)]))
    order, _ = await opened(bench, manifest)
    (chunk,) = manifest.chunks()
    first = await operator(bench).produce(order.request_id, 0, chunk)
    bench = bench.restarted()
    again = await operator(bench).produce(order.request_id, 0, chunk)
    assert [one.chain for one in again.answers] == [one.chain for one in first.answers]
    assert [KEY.decrypt(one.envelope) for one in again.answers] == [
        KEY.decrypt(one.envelope) for one in first.answers
    ]
    assert [one.envelope for one in again.answers] != [one.envelope for one in first.answers]


async def test_a_chunk_with_refused_rows_enrols_none_and_names_each(bench: Bench) -> None:
    taken = await bench.module(2)
    rows = [row(1), row(2), structs.replace(row(3), point=b"\x04" + bytes(64)), row(4)]
    manifest = mf.read(written(rows))
    order, _ = await opened(bench, manifest)
    reply = await operator(bench).produce(order.request_id, 0, next(manifest.chunks()))
    assert [(one.row, one.code) for one in reply.refused] == [
        (2, "security.module-bound"),
        (3, "security.request"),
    ]
    assert reply.answers == ()
    assert (await bench.platform.usage()).modules == 1
    assert (await operator(bench).production(order.request_id)).done == ()
    codes = [one.code for one in await bench.refusals()]
    assert codes[-2:] == ["security.module-bound", "security.request"]
    assert taken.given is not None


async def test_the_next_chunk_is_not_held_up_by_a_refused_one(bench: Bench) -> None:
    await bench.module(1)
    manifest = mf.read(written([row(number) for number in range(1, CHUNK + 2)]))
    order, _ = await opened(bench, manifest)
    first, second = manifest.chunks()
    assert (await operator(bench).produce(order.request_id, 0, first)).refused
    assert len((await operator(bench).produce(order.request_id, 1, second)).answers) == 1


async def test_rows_that_nobody_signed_are_refused(bench: Bench) -> None:
    manifest = mf.read(written([row(1), row(2)]))
    order, _ = await opened(bench, manifest)
    (chunk,) = manifest.chunks()
    other = (structs.replace(chunk[0], point=Sm2PrivateKey.generate().public_point), chunk[1])
    for number, rows in ((0, other), (0, chunk[:1]), (0, chunk[::-1]), (1, chunk), (-1, chunk), (0, ())):
        with pytest.raises(TrustError) as caught:
            await operator(bench).produce(order.request_id, number, rows)
        assert caught.value.code == "security.manifest"
    assert (await bench.platform.usage()).modules == 0


async def test_a_production_that_was_never_opened_is_refused(bench: Bench) -> None:
    for call in (
        operator(bench).produce(os.urandom(16), 0, (row(1),)),
        operator(bench).production(os.urandom(16)),
    ):
        with pytest.raises(LocalError) as caught:
            await call
        assert caught.value.code == "security.no-production"


async def test_an_order_whose_chunks_do_not_fit_its_rows_is_refused(bench: Bench) -> None:
    maker, *_ = await founded(bench, Person("maker", ("enrol",)), Person("bo"))
    good = order_of(mf.read(written([row(1)])))
    for change in ({"rows": 0}, {"rows": CHUNK + 1}, {"digests": (b"short",)}, {"digests": ()}):
        order = structs.replace(good, **change, **{"request_id": os.urandom(16)})
        with pytest.raises(LocalError) as caught:
            await operator(bench).submit(ordered("production", order, [maker]))
        assert caught.value.code == "security.production"


async def test_an_officer_without_the_role_and_a_stranger_open_nothing(bench: Bench) -> None:
    await founded(bench, Person("an"), Person("bo"), clerk := Person("clerk", ("command",)))
    order = order_of(mf.read(written([row(1)])))
    for signers, code in (
        ([clerk], "security.role"),
        ([Person("eve")], "security.officer"),
        ([], "security.two-persons"),
    ):
        with pytest.raises(TrustError) as caught:
            await operator(bench).submit(ordered("production", order, signers))
        assert caught.value.code == code


async def test_an_order_that_was_changed_after_signing_opens_nothing(bench: Bench) -> None:
    maker, *_ = await founded(bench, Person("maker", ("enrol",)), Person("bo"))
    signed = ordered("production", order_of(mf.read(written([row(1)]))), [maker])
    other = ordered("production", order_of(mf.read(written([row(2)]))), [maker])
    with pytest.raises(TrustError) as caught:
        await operator(bench).submit(structs.replace(signed, request=other.request))
    assert caught.value.code == "security.signature"


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from meterseal.mesh.rpc import InProcess
from meterseal.security import manifest as mf
from meterseal.security.sdk import SecuritySdk
from meterseal.security.service import SecurityService

async def main(directory, text, request_id, passphrase, now):
    service = SecurityService.open(Path(directory), passphrase, clock=lambda: now)
    sdk = SecuritySdk(InProcess(service.methods(), "operator"))
    manifest = mf.read(Path(text).read_text())
    done = (await sdk.production(request_id)).done
    for number, chunk in enumerate(manifest.chunks()):
        if number not in done:
            print(number, flush=True)
            reply = await sdk.produce(request_id, number, chunk)
            assert not reply.refused, reply.refused
    print("all", flush=True)
    service.close()

asyncio.run(main(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4].encode(), int(sys.argv[5])))
"""


@pytest.mark.parametrize("delays", [(0.0, 0.05, 0.12, 0.2)])
async def test_killed_at_any_moment_a_production_goes_on_and_no_serial_comes_twice(
    bench: Bench, tmp_path: Path, delays: tuple[float, ...]
) -> None:
    rows = [row(number, 1 + number % 7 % 2) for number in range(4 * CHUNK - 5)]
    manifest = mf.read(written(rows))
    order, _ = await opened(bench, manifest)
    bench.service.close()
    text = tmp_path / "manifest.csv"
    text.write_text(written(rows))
    arguments = [str(bench.directory), str(text), order.request_id.hex(), PASSPHRASE.decode(), str(NOW)]
    for delay in delays:
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    assert ended.stdout.endswith("all\n")
    copy = tmp_path / "copy.db"
    shutil.copy(bench.directory / "registry.db", copy)
    connection = sqlite3.connect(copy)
    issued = connection.execute("SELECT der, module_id FROM certificate WHERE issuer = 'device'").fetchall()
    enrolled = dict(connection.execute("SELECT module_id, leaf FROM module WHERE suite = 1").fetchall())
    first = [one for one in rows if one.suite == 1]
    assert len(issued) == len(first) == len(enrolled)
    assert len({parse(der).serial for der, _ in issued}) == len(first)
    assert all(enrolled[module_id] == der for der, module_id in issued)
    done = connection.execute("SELECT count(*) FROM production_chunk").fetchone()[0]
    assert done == 4
    connection.close()
