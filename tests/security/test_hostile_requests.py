"""Every method there is, asked with what no program of ours sends: refused as bad input, and nothing is changed."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.app import keys, listening, platform
from meterseal.cli.orders import PURPOSES
from meterseal.control.tables import metadata
from meterseal.mesh import doors
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.method import InProcess, Methods
from meterseal.security import orders as o
from meterseal.security.cardorders import NEEDED, CardAsk
from meterseal.security.service import SecurityService
from tests.control_store import control_at
from tests.mesh import hostile

from .conftest import NOW, PASSPHRASE, PROJECT, Bench
from .people import HOUR, founded

WRITTEN = ("refusals", "service_heads")
"""Tables that a refusal is written to, or a look."""
BOOK = ("state", "document", "spent", "command", "granted", "authorised", "key_update")
REGISTRY = ("setting", "module", "certificate", "production", "production_chunk")
ORDERS = {"port": 1, **dict.fromkeys(("web", "headend_tcp", "headend_tls", "platforms"), 1)}


class Whole:
    """A security service and a platform with their tables, and a digest of all that they keep."""

    def __init__(
        self, service: SecurityService, engine: sa.Engine, parts: platform.Parts, root: Path
    ) -> None:
        self._service, self._engine, self._root = service, engine, root
        tls = TlsDirectory(root / "tls")
        self.tables: dict[str, Methods] = {
            "keys": keys.methods(service, tls, PASSPHRASE, service.room.clock),
            "platform": parts.methods,
            "operator": parts.operator | listening.methods({"host": "127.0.0.1", "ports": ORDERS}),
        }

    def kept(self) -> dict[str, bytes]:
        """By place a digest of what is kept there."""
        room = self._service.room
        found: dict[str, Any] = {
            "keys": [(one.vault, one.id, one.version, one.state) for one in room.keys.all_facts()]
        }
        found |= {f"book {table}": room.book.store.rows(f"SELECT * FROM {table}") for table in BOOK}
        found |= {
            f"registry {table}": room.registry.store.rows(f"SELECT * FROM {table}") for table in REGISTRY
        }
        with self._engine.connect() as connection:
            for name, table in sorted(metadata.tables.items()):
                if name not in WRITTEN:
                    found[name] = [tuple(row) for row in connection.execute(sa.select(table))]
        files = sorted(path for path in (self._root / "measurements").rglob("*") if path.is_file())
        found["files"] = [(path.name, path.stat().st_size) for path in files]
        return {name: hashlib.sha256(repr(of).encode()).digest() for name, of in found.items()}


@pytest.fixture
async def whole(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(
        doors, "stretched", lambda passphrase, salt: hashlib.sha256(passphrase + salt).digest()
    )
    TlsDirectory(tmp_path / "tls").provision(PASSPHRASE, NOW)
    engine = control_at(tmp_path / "control.db")
    parts = await platform.assemble(
        engine, tmp_path / "measurements", InProcess(bench.service.methods(), "platform"), bench.clock
    )
    parts.words._listen = 0.0
    await bench.module(1)
    await founded(bench)
    yield Whole(bench.service, engine, parts, tmp_path)
    await parts.mdms.close()
    engine.dispose()


def admitted(methods: Methods, name: str) -> str:
    """A caller who may ask for a method, so that what refuses it is what it says."""
    return next(one for one in ("operator", "platform", "headend", "web") if methods[name].admits(one))


@pytest.mark.parametrize("where", ["keys", "platform", "operator"])
async def test_a_hostile_request_is_refused_as_bad_input_and_changes_nothing(
    whole: Whole, where: str
) -> None:
    methods = whole.tables[where]
    assert len(methods) > 20
    outcomes: Counter[str] = Counter()
    for name, method in methods.items():
        caller = admitted(methods, name)
        asked = list(hostile.bodies(method.request))
        codes = [await hostile.refused(methods, name, caller, body) for body in asked]
        assert "mesh.internal" not in codes, name
        changed: list[str] = ["not tried"]
        for _ in range(
            3
        ):  # what an accepted request began may still write, once; a refused one would write each time
            before = whole.kept()
            for body, code in zip(asked, codes, strict=True):
                if code:
                    outcomes[await hostile.refused(methods, name, caller, body)] += 1
            changed = [place for place, kept in whole.kept().items() if kept != before[place]]
            if not changed:
                break
        assert changed == [], name
    assert "mesh.internal" not in outcomes
    assert outcomes["mesh.message"] > 5 * len(methods)


async def test_a_number_that_no_store_holds_is_refused_wherever_it_stands(whole: Whole) -> None:
    asked = {"since": 1 << 63, "limit": 100, "newest": False}
    for value, expected in ((1 << 63, "mesh.message"), ((1 << 63) - 1, "")):
        body = msgspec.msgpack.encode({**asked, "since": value})
        assert await hostile.refused(whole.tables["keys"], "audit", "operator", body) == expected


@pytest.mark.parametrize("purpose", [*PURPOSES, "command"])
async def test_what_officers_signed_is_no_better_input_for_that(bench: Bench, purpose: str) -> None:
    """Hostile fields under two good signatures: the act refuses them, whatever it is, and no key changes."""
    kind = PURPOSES.get(purpose, o.CommandOrder)
    names = [field.name for field in msgspec.structs.fields(kind)]
    always = {"not_after": NOW + HOUR, "project_id": PROJECT}

    def good() -> list[Any]:
        values = dict(zip(names, hostile.plain(kind), strict=True))
        values |= {"request_id": o.fresh_request_id(), **{n: v for n, v in always.items() if n in values}}
        return list(values.values())

    def ask(raw: bytes, by: tuple[o.OfficerSignature, ...]) -> tuple[str, msgspec.Struct]:
        order = o.SignedOrder(purpose=purpose, request=raw, signatures=by)
        if purpose == "command":
            return "authorise_command", o.SignedCommand(order=raw, signatures=by)
        if purpose in NEEDED:
            ids = {"device_id": bytes(8), "module_id": bytes(8), "challenge": bytes(16)}
            return "card_answer", CardAsk(order=order, **ids)
        return "submit", order

    methods, people = bench.service.methods(), await founded(bench)
    codes: Counter[str] = Counter()
    always_there = 0 if purpose in ("officers", "command") else 3  # id, end and project: once is enough
    for raw in hostile.bodies(kind, good, always_there):
        signatures = tuple(person.sign(purpose, raw) for person in people)
        method, asked = ask(raw, signatures)
        caller = admitted(methods, method)
        codes[await hostile.refused(methods, method, caller, msgspec.msgpack.encode(asked))] += 1
    assert "mesh.internal" not in codes
    assert sum(codes.values()) - codes[""] > 8
