"""Attacks of somebody who writes into the keys directory while the service is stopped, and has no passphrase.

Each one really writes the files, by SQL or by copying, and the service refuses to start with what it finds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct, structs

from meterseal.errors import MetersealError, TrustError
from meterseal.security import keyorders as k
from meterseal.security import orders as o
from meterseal.security.passphrase import Stretching, key_encryption_key
from meterseal.security.reserveorders import Pair, ReleaseModule
from meterseal.security.vault import Vault

from .conftest import DAY, NOW, PASSPHRASE, Bench, Clock, Module
from .people import Person, fields, founded, operator, ordered
from .test_commanding import order, signed

FILES = ("keys.vault", "ca.vault", "registry.db", "audit.db", "acts.db")
SYSTEM = ("keys.vault", "registry.db", "audit.db", "acts.db")


def written(directory: Path, file: str, *statements: str, **values: object) -> int:
    """Write into a file by hand; how many rows the last statement changed."""
    connection = sqlite3.connect(directory / file)
    changed = 0
    for statement in statements:
        changed = connection.execute(statement, values).rowcount
    connection.commit()
    connection.close()
    return changed


def refused(story: Story, code: str = "security.tampered", file: str = "") -> None:
    """The service does not start; its sentence says what to do, and names the file."""
    with pytest.raises(TrustError) as caught:
        story.start()
    assert caught.value.code == code, caught.value.message
    assert "backup" in caught.value.message
    assert file in caught.value.message


def copied(directory: Path, to: Path) -> Path:
    shutil.copytree(directory, to)
    return to


class Story:
    """A system with a past: officers, modules, a withdrawal, commands, an old version of keys; closed.

    `older` is a copy of the whole directory, from a clean stop in the middle.
    """

    def __init__(self, directory: Path, older: Path) -> None:
        self.directory, self.older, self.clock = directory, older, Clock()
        self.people: tuple[Person, ...] = ()
        self.modules: list[Module] = []

    def start(self) -> Bench:
        """The service over the directory as it is."""
        return Bench(self.directory, self.clock)

    def copied(self, to: Path) -> Story:
        """The same past in files of its own."""
        story = Story(copied(self.directory, to / "keys"), copied(self.older, to / "older"))
        story.people, story.modules = self.people, self.modules
        return story

    async def live(self) -> None:
        bench = self.start()
        self.people = await founded(bench)
        self.modules = [await bench.module(number) for number in (1, 2)]
        await bench.shake(self.modules[0])
        bench.service.close()
        copied(self.directory, self.older)
        bench = self.start()
        await bench.platform.authorise_command(*signed(order(self.modules[0]), self.people[0]))
        await bench.platform.data_key("journal", "j")
        change = o.OfficerChange(**fields(), add=(Person("cy").card,))  # type: ignore[arg-type]
        await bench.platform.submit(ordered("officers", change, self.people))
        await operator(bench).rotate("data-keys")
        withdrawn = k.KeyStateChange(
            **fields(),  # type: ignore[arg-type]
            key_id="WRAP-DATA",
            version=1,
            state="withdrawn",
            despite=True,
        )
        await bench.platform.submit(ordered("key-state", withdrawn, self.people))
        self.modules.append(await bench.module(3))
        await bench.platform.withdraw(self.modules[1].device_id, self.modules[1].module_id)
        await bench.shake(self.modules[2])
        await operator(bench).rotate("platform")
        bench.service.close()


@pytest.fixture(scope="session")
def past(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("past")
    story = Story(copied(template, folder / "keys"), folder / "older")
    asyncio.run(story.live())
    return story


@pytest.fixture
def story(past: Story, tmp_path: Path) -> Story:
    return past.copied(tmp_path)


async def test_the_story_itself_starts_again(story: Story) -> None:
    for _ in range(2):
        bench = story.start()
        assert (await bench.platform.verify_audit()).ok
        await bench.shake(story.modules[0])
        bench.service.close()


ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "officers founded anew": ("acts.db", ("DELETE FROM document WHERE name = 'officers'",)),
    "a withdrawn module revived": (
        "registry.db",
        (
            "UPDATE certificate SET revoked_at = NULL",
            "UPDATE module SET state = 'active', withdrawn_at = NULL, gone = NULL WHERE state = 'withdrawn'",
        ),
    ),
    "a revocation taken back": (
        "registry.db",
        ("UPDATE certificate SET revoked_at = NULL WHERE revoked_at IS NOT NULL",),
    ),
    "a module forgotten": (
        "registry.db",
        (
            "DELETE FROM certificate WHERE module_id = x'0102030400000001'",
            "DELETE FROM module WHERE module_id = x'0102030400000001'",
        ),
    ),
    "a module's point exchanged": (
        "registry.db",
        ("UPDATE module SET point = zeroblob(65) WHERE module_id = x'0102030400000001'",),
    ),
    "a module added": (
        "registry.db",
        (
            "INSERT INTO module(device_id, module_id, suite, key_version, project_id, point, leaf, state, lab, "
            "enrolled_at) SELECT x'1078330000000009', x'0102030400000009', 2, key_version, project_id, point, leaf, "
            "state, lab, enrolled_at FROM module "
            "WHERE module_id = x'0102030400000001'",
        ),
    ),
    "two modules exchanged": (
        "registry.db",
        (
            "UPDATE module SET leaf = (SELECT der FROM certificate WHERE module_id = x'0102030400000003') "
            "WHERE module_id = x'0102030400000001'",
        ),
    ),
    "the project exchanged": (
        "registry.db",
        ("UPDATE setting SET value = zeroblob(16) WHERE name = 'project'",),
    ),
    "a lab made of it": ("registry.db", ("UPDATE setting SET value = x'01' WHERE name = 'lab'",)),
    "a spent order forgotten": (
        "acts.db",
        ("DELETE FROM spent WHERE request_id = (SELECT request_id FROM spent LIMIT 1)",),
    ),
    "the floor of forgotten orders lowered": ("acts.db", ("UPDATE state SET floor = -1",)),
    "a command number lowered": ("acts.db", ("UPDATE command SET number = number - 1",)),
    "the limit of commands emptied": ("acts.db", ("DELETE FROM granted",)),
    "a command's module exchanged": ("acts.db", ("UPDATE authorised SET module_id = x'0102030400000003'",)),
    "a counter lowered": ("keys.vault", ("UPDATE key SET used = used - 1 WHERE id = 'DIAK'",)),
    "a counter raised to its limit": ("keys.vault", ("UPDATE key SET used = 1000000000 WHERE id = 'DIAK'",)),
    "a counter of a CA lowered": ("ca.vault", ("UPDATE key SET used = used - 1 WHERE id = 'DEVICE-CA'",)),
    "a key forgotten": ("keys.vault", ("DELETE FROM key WHERE id = 'WRAP-DATA' AND version = 2",)),
    "a door taken away": ("ca.vault", ("DELETE FROM vault",)),
    "the uses of a day forgotten": ("registry.db", ("DELETE FROM use_count",)),
    "a trigger that forgets": (
        "acts.db",
        (
            "CREATE TRIGGER forget AFTER INSERT ON spent BEGIN DELETE FROM spent WHERE request_id = NEW.request_id; END",
        ),
    ),
    "an index left out of step": (
        "registry.db",
        (
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_schema SET rootpage = (SELECT sum(rootpage) FROM sqlite_schema WHERE name IN "
            "('module_ending', 'module_gone')) - rootpage WHERE name IN ('module_ending', 'module_gone')",
        ),
    ),
    "the state copied beside itself": ("acts.db", ("INSERT INTO proof SELECT * FROM proof",)),
    "the revision raised": ("acts.db", ("UPDATE proof SET revision = revision + 1",)),
}


@pytest.mark.parametrize("attack", ROWS)
async def test_a_row_written_by_hand(story: Story, attack: str) -> None:
    file, statements = ROWS[attack]
    assert written(story.directory, file, *statements) != 0
    code = "security.passphrase" if attack == "a door taken away" else "security.tampered"
    with pytest.raises(TrustError) as caught:
        story.start()
    assert caught.value.code == code
    if code == "security.tampered":
        assert file in caught.value.message
        assert "backup" in caught.value.message


async def test_an_old_key_state_revived(story: Story) -> None:
    """The record of a withdrawn key, as it was sealed while the key was in use, opens in its place; the sum does not."""
    with sqlite3.connect(story.older / "keys.vault") as connection:
        sealed = connection.execute(
            "SELECT sealed FROM key WHERE id = 'WRAP-DATA' AND version = 1"
        ).fetchone()[0]
    connection.close()
    written(
        story.directory,
        "keys.vault",
        "UPDATE key SET sealed = :s WHERE id = 'WRAP-DATA' AND version = 1",
        s=sealed,
    )
    refused(story, file="keys.vault")


@pytest.mark.parametrize("name", ["platforms", "officers"])
async def test_a_document_put_back_to_what_it_was(story: Story, name: str) -> None:
    """An older document opens under its own revision; the state knows that it is not the newest."""
    with sqlite3.connect(story.older / "acts.db") as connection:
        row = connection.execute("SELECT revision, sealed FROM document WHERE name = ?", (name,)).fetchone()
    connection.close()
    changed = written(
        story.directory,
        "acts.db",
        "UPDATE document SET revision = :r, sealed = :s WHERE name = :n",
        r=row[0],
        s=row[1],
        n=name,
    )
    assert changed == 1
    refused(story, file="acts.db")


async def test_the_proof_put_back_with_the_rows_that_it_was_of(story: Story) -> None:
    """All rows of the book and its state, put back into the newer file: that is the older file, and as old."""
    connection = sqlite3.connect(story.directory / "acts.db")
    connection.execute("ATTACH ? AS older", (str(story.older / "acts.db"),))
    tables = [
        name for (name,) in connection.execute("SELECT name FROM older.sqlite_schema WHERE type = 'table'")
    ]
    for table in tables:
        connection.execute(f"DELETE FROM main.{table}")
        connection.execute(f"INSERT INTO main.{table} SELECT * FROM older.{table}")
    connection.commit()
    connection.close()
    assert "proof" in tables
    refused(story, "security.rolled-back", "acts.db")


@pytest.mark.parametrize("file", FILES)
async def test_a_single_file_put_back(story: Story, file: str) -> None:
    shutil.copy(story.older / file, story.directory / file)
    refused(story, "security.rolled-back", file)


@pytest.mark.parametrize("left", FILES)
async def test_every_file_but_one_put_back(story: Story, left: str) -> None:
    """The one that was left has seen all the others further on."""
    for file in FILES:
        if file != left:
            shutil.copy(story.older / file, story.directory / file)
    refused(story, "security.rolled-back")


@pytest.mark.parametrize("file", FILES)
async def test_a_file_put_back_to_the_last_clean_stop_but_one(
    story: Story, file: str, tmp_path: Path
) -> None:
    """Between the two stops one key was used, once; nothing else happened."""
    copied(story.directory, tmp_path / "before")
    bench = story.start()
    await bench.shake(story.modules[0])
    bench.service.close()
    shutil.copy(tmp_path / "before" / file, bench.directory / file)
    if file == "acts.db":  # unchanged but for the calls that were counted
        refused(story, "security.rolled-back")
        return
    refused(story, "security.rolled-back", file)


def image(directory: Path) -> dict[str, bytes]:
    """What a kill -9 would leave of the files now."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


async def test_a_file_put_back_after_a_kill(story: Story, tmp_path: Path) -> None:
    """What was done and answered before a kill is known to another file: states at once, counters within a second."""
    bench = story.start()
    older = image(bench.directory)
    change = k.KeyStateChange(
        **fields(),  # type: ignore[arg-type]
        key_id="WRAP-DATA",
        version=1,
        state="destroyed",
    )
    await bench.platform.submit(ordered("key-state", change, story.people))
    states = image(bench.directory)
    await bench.platform.data_key("journal", "one more use")
    bench.service.room._tie()  # as the timer does, a second later
    counters = image(bench.directory)
    for number, newer in enumerate((states, counters)):
        before = (older, states)[number]
        for file in FILES if number == 0 else ("keys.vault",):
            folder = copied(story.directory / "offline", tmp_path / f"{number}-{file}" / "offline").parent
            mixed = {name: raw for name, raw in newer.items() if not name.startswith(file)}
            mixed |= {name: raw for name, raw in before.items() if name.startswith(file)}
            for name, raw in mixed.items():
                (folder / name).write_bytes(raw)
            changed = {name for name in newer if newer[name] != before.get(name)}
            if not any(name.startswith(file) for name in changed):
                continue
            with pytest.raises(TrustError) as caught:
                Bench(folder, bench.clock)
            assert caught.value.code == "security.rolled-back", file
            assert file in caught.value.message
    bench.service.close()


async def test_a_file_of_another_system(story: Story, template: Path) -> None:
    for file in FILES:
        kept = (story.directory / file).read_bytes()
        shutil.copy(template / file, story.directory / file)
        with pytest.raises(TrustError):
            story.start()
        (story.directory / file).write_bytes(kept)
        for extra in ("-wal", "-shm"):
            (story.directory / f"{file}{extra}").unlink(missing_ok=True)
    story.start().service.close()


async def test_the_whole_directory_put_back_is_seen_in_the_head(story: Story) -> None:
    """By itself it cannot know; whoever kept the head of the log does, counters that have no entry included."""
    bench = story.start()
    first = await bench.platform.audit_head()
    bench.service.close()
    between = copied(bench.directory, bench.directory.with_name("between"))
    bench = bench.restarted_from_closed()
    await bench.platform.data_key("journal", "a use without an entry")
    bench.clock.now += DAY
    kept = await bench.platform.audit_head(first.sequence)
    assert kept.revision > first.revision
    assert kept.digest != first.digest
    bench.service.close()
    back = Bench(between, bench.clock)
    assert (await back.platform.audit_head(kept.sequence)).known != kept.hash
    back.service.close()
    back = Bench(story.older, bench.clock)
    assert (await back.platform.audit_head(kept.sequence)).known == b""


async def test_a_document_of_another_kind_is_not_taken_for_the_officers(bench: Bench) -> None:
    """Sealed by the service itself, as another version of it might: it is refused and not read as nobody."""

    class Odd(Struct):
        officers: int = 3

    book = bench.service.room.book
    with book.transaction() as connection:
        book.write(connection, "officers", Odd())
    with pytest.raises(TrustError) as caught:
        bench.restarted()
    assert caught.value.code == "security.book"


# --- formats


def aged(directory: Path) -> None:
    """What this directory would be, had the release before proofs written it; the doors cannot be written by a thief."""
    for name in ("keys", "ca"):
        vault = Vault.open(directory / f"{name}.vault", name, PASSPHRASE)
        count = vault._file.store.rows("SELECT count(*) FROM key")[0][0]
        proof = vault._file._kek.gcm_seal(b"meterseal vault" + count.to_bytes(4), name.encode())
        vault.close()
        written(directory, f"{name}.vault", "UPDATE vault SET proof = :proof", proof=proof)
    stripped(directory)


def stripped(directory: Path, *files: str) -> None:
    """The same as far as somebody without any key can do it."""
    for file in files or FILES:
        written(directory, file, "DROP TABLE proof")
    for file in set(files or FILES) & {"keys.vault", "ca.vault"}:
        written(directory, file, "DROP TABLE coming", "PRAGMA user_version = 1")
    if not files or "audit.db" in files:
        written(directory, "audit.db", "PRAGMA user_version = 2")
    if not files or "acts.db" in files:
        revision = "INSERT INTO state SELECT coalesce(max(revision), 0) + 1000, x'' FROM document"
        written(
            directory,
            "acts.db",
            "DROP TABLE reserved",
            "DROP TABLE released",
            "DROP TABLE state",
            "CREATE TABLE state(revision INTEGER NOT NULL, proof BLOB NOT NULL)",
            revision,
            "PRAGMA user_version = 1",
        )


async def test_a_directory_of_the_format_before_is_raised_once(story: Story) -> None:
    aged(story.directory)
    bench = story.start()
    assert (await bench.platform.verify_audit()).ok
    entries = [one.entry.code for one in await bench.platform.audit(limit=1000)]
    assert entries.count("security.proofs-begun") == 1
    assert bench.service.room.keys.newest("AUDIT") == 2
    await bench.shake(story.modules[0])
    with pytest.raises(TrustError) as caught:
        await bench.platform.authorise_command(*signed(order(story.modules[1]), story.people[0]))
    assert caught.value.code == "security.not-enrolled"  # it is still withdrawn
    bench = bench.restarted()
    assert bench.service.room.keys.newest("AUDIT") == 2
    entries = [one.entry.code for one in await bench.platform.audit(limit=1000)]
    assert entries.count("security.proofs-begun") == 1
    bench.service.close()
    written(bench.directory, "acts.db", "DELETE FROM spent")
    refused(story, file="acts.db")


@pytest.mark.parametrize(
    ("file", "statement", "code"),
    [
        ("acts.db", "UPDATE state SET revision = 1", "security.rolled-back"),
        ("keys.vault", "DELETE FROM key WHERE id = 'MROOT'", "security.key-record"),
        ("keys.vault", "UPDATE key SET sealed = zeroblob(64) WHERE id = 'MROOT'", "security.key-record"),
    ],
    ids=["an older book", "a key record taken out", "a key record overwritten"],
)
async def test_a_directory_of_the_format_before_is_not_raised_with_less_than_it_counted(
    story: Story, file: str, statement: str, code: str
) -> None:
    """The format before knew how many changes and records there were; what is less is given no proof."""
    aged(story.directory)
    written(story.directory, file, statement)
    refused(story, code)


@pytest.mark.parametrize("file", SYSTEM)
async def test_one_file_taken_down_to_the_format_before(story: Story, file: str) -> None:
    stripped(story.directory, file)
    with pytest.raises(MetersealError) as caught:
        story.start()
    assert caught.value.code == "security.tampered"


async def test_every_file_taken_down_to_the_format_before(story: Story) -> None:
    """Without the passphrase the doors go on saying that there was a proof."""
    stripped(story.directory)
    with pytest.raises(MetersealError) as caught:
        story.start()
    assert caught.value.code in ("security.tampered", "security.damaged")


async def test_a_vault_from_before_the_raising_put_back(story: Story, tmp_path: Path) -> None:
    """With everything else taken down to fit it: it cannot verify what the log says since, whatever else is forged."""
    aged(story.directory)
    old = copied(story.directory, tmp_path / "old")
    bench = story.start()
    await bench.module(7)
    bench.service.close()
    for file in ("keys.vault", "ca.vault"):
        shutil.copy(old / file, bench.directory / file)
    kept = copied(bench.directory, tmp_path / "kept")
    refused(story)  # the others have proofs that this vault never made
    shutil.rmtree(bench.directory)
    copied(kept, bench.directory)
    stripped(bench.directory, "registry.db", "audit.db", "acts.db")
    with pytest.raises(TrustError) as caught:
        bench.restarted_from_closed()
    assert caught.value.code in ("security.tampered", "security.no-key")


async def test_a_log_that_does_not_verify_is_not_raised(story: Story) -> None:
    aged(story.directory)
    written(story.directory, "audit.db", "DELETE FROM entry WHERE sequence = 3")
    refused(story, file="audit.db")


# --- clocks


async def test_a_clock_set_far_ahead_and_back_makes_no_order_new(bench: Bench) -> None:
    """Orders are forgotten by what officers signed, not by the clock; and what may be forgotten is refused for good."""
    people = await founded(bench)
    module = await bench.module(1)
    first = signed(order(module), people[0])
    await bench.platform.authorise_command(*first)
    later = NOW + 401 * DAY
    bench.clock.now = later
    change = o.OfficerChange(**fields(later + 1000), add=(Person("cy").card,))  # type: ignore[arg-type]
    await bench.platform.submit(ordered("officers", change, people))
    assert bench.service.room.book.floor == later + 1000 - 400 * DAY
    await bench.platform.authorise_command(*signed(order(module, not_after=later + 1000), people[0]))
    bench.clock.now = NOW
    for _ in range(2):
        with pytest.raises(TrustError) as caught:
            await bench.platform.authorise_command(*first)
        assert caught.value.code == "security.expired"
        fresh = structs.replace(order(module), request_id=os.urandom(16))
        with pytest.raises(TrustError) as caught:
            await bench.platform.authorise_command(*signed(fresh, people[0]))
        assert caught.value.code == "security.expired"
        bench = bench.restarted()
    bench.clock.now = later
    ends = structs.replace(order(module), not_after=later + 2000)
    await bench.platform.authorise_command(*signed(ends, people[0]))


async def test_a_clock_alone_forgets_nothing(bench: Bench) -> None:
    people = await founded(bench)
    module = await bench.module(1)
    first = signed(order(module), people[0])
    await bench.platform.authorise_command(*first)
    bench.clock.now = NOW + 4000 * DAY
    await bench.platform.data_key("journal", "j")
    bench = bench.restarted()
    bench.clock.now = NOW
    assert bench.service.room.book.is_spent(o.decoded(first[0], o.CommandOrder).request_id)


# --- enrolment after a restore


async def put_back(
    bench: Bench, tmp_path: Path, enrol: Callable[[Bench], object] | None = None
) -> tuple[Bench, Module]:
    """A directory put back to before module 2 was enrolled, and what the platform knows of it."""
    await founded(bench)
    await bench.module(1)
    bench.service.close()
    older = copied(bench.directory, tmp_path / "before-2")
    bench = bench.restarted_from_closed()
    later = await bench.module(2)
    bench.service.close()
    back = Bench(older, bench.clock)
    await back.platform.hold_enrolment("the platform found it so")
    return back, later


async def enrolled(bench: Bench, module: Module, key: Module | None = None) -> str:
    """The code of the refusal, empty when it was enrolled."""
    point = (key or module).key.public_point
    try:
        await bench.platform.personalise(module.device_id, module.module_id, 1, point)
    except MetersealError as error:
        return error.code
    return ""


async def test_a_module_enrolled_after_the_backup_is_not_enrolled_with_anothers_point(
    bench: Bench, tmp_path: Path
) -> None:
    back, later = await put_back(bench, tmp_path)
    thief = Module(2)
    assert await enrolled(back, thief) == "security.enrolment-held"
    back = back.restarted()
    assert await enrolled(back, Module(9)) == "security.enrolment-held"
    for _ in range(2):
        known = await back.platform.reserve_modules(
            [Pair(later.device_id, later.module_id), Pair(Module(1).device_id, Module(1).module_id)]
        )
        assert (known.reserved, known.held) == (1, True)
    assert not (await back.platform.accept_head()).held
    for _ in range(2):
        assert await enrolled(back, thief) == "security.reserved"
        other = Module(8)
        other.module_id = later.module_id
        assert await enrolled(back, other) == "security.reserved"
        other.module_id, other.device_id = Module(8).module_id, later.device_id
        assert await enrolled(back, other) == "security.reserved"
        back = back.restarted()
    assert await enrolled(back, Module(9)) == ""
    assert (await back.refusals())[-1].code == "security.reserved"


async def test_two_officers_release_a_module_for_one_point(bench: Bench, tmp_path: Path) -> None:
    people = (Person("an"), Person("bo"))
    await founded(bench, *people)
    bench.service.close()
    back = bench.restarted_from_closed()
    later = Module(2)
    await back.platform.reserve_modules([Pair(later.device_id, later.module_id)])
    release = ReleaseModule(
        **fields(),  # type: ignore[arg-type]
        device_id=later.device_id,
        module_id=later.module_id,
        point=later.key.public_point,
        reason="enrolled before the restore",
    )
    with pytest.raises(TrustError) as alone:
        await back.platform.submit(ordered("release-module", release, people[:1]))
    assert alone.value.code == "security.two-persons"
    await back.platform.submit(ordered("release-module", release, people))
    for wrong in ({"point": b"\x04" * 64}, {"device_id": b"short"}, {"reason": ""}):
        bent = structs.replace(release, request_id=o.fresh_request_id(), **wrong)
        with pytest.raises(MetersealError) as caught:
            await back.platform.submit(ordered("release-module", bent, people))
        assert caught.value.code == "security.request"
    back = back.restarted()
    assert await enrolled(back, later, Module(2)) == "security.reserved"
    assert await enrolled(back, later) == ""


async def test_only_the_platform_says_what_is_reserved(bench: Bench) -> None:
    for client in (bench.headend, operator(bench)):
        for call in (
            client.hold_enrolment("because"),
            client.reserve_modules([]),
            client.accept_head(),
        ):
            with pytest.raises(MetersealError) as caught:
                await call
            assert caught.value.code == "mesh.denied"
    for pairs in ([Pair(b"", b"")], [Pair(bytes(8), b"x")], [Pair(bytes(8), bytes(8))] * 1001):
        with pytest.raises(MetersealError) as caught:
            await bench.platform.reserve_modules(pairs)
        assert caught.value.code == "security.request"
    for reason in ("", "x" * 201):
        with pytest.raises(MetersealError) as caught:
            await bench.platform.hold_enrolment(reason)
        assert caught.value.code == "security.request"


@pytest.mark.parametrize(
    "asked",
    [
        Stretching(bytes(16), memory=1 << 40),
        Stretching(bytes(16), memory=(1 << 20) + 1),
        Stretching(bytes(16), lanes=1 << 30),
        Stretching(bytes(16), passes=1 << 20),
        Stretching(bytes(16), passes=0),
        Stretching(bytes(16), passes=-1),
        Stretching(b""),
    ],
    ids=["all memory", "over a gigabyte", "lanes", "passes", "no pass", "less than none", "no salt"],
)
async def test_a_door_that_asks_for_all_of_the_machine(story: Story, asked: Stretching) -> None:
    with pytest.raises(TrustError) as caught:
        key_encryption_key(PASSPHRASE, "vault keys", asked)
    assert caught.value.code == "security.stretching"
    written(
        story.directory,
        "keys.vault",
        "UPDATE vault SET stretching = :record",
        record=msgspec.msgpack.encode(asked),
    )
    with pytest.raises(TrustError) as caught:
        story.start()
    assert caught.value.code == "security.passphrase"
