"""The service as a whole: first and next starts, enrolment, data keys, evidence, and who may ask for what."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec import structs

from meterseal.crypto import certificates
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import ConsentError, EngineError, LocalError, PeerError, TrustError
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import Connection, Empty, InProcess, serve
from meterseal.mesh.tls import client_context, server_context
from meterseal.security import messages as m
from meterseal.security.sdk import DataKeySource, SecuritySdk
from meterseal.security.service import SecurityService, provision

from .conftest import DAY, NOW, PASSPHRASE, PROJECT, Bench, Clock, Module


@pytest.fixture(scope="session")
def lab_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lab") / "keys"
    provision(directory, PASSPHRASE, PROJECT, NOW, lab=True)
    return directory


@pytest.fixture
def lab(lab_template: Path, tmp_path: Path, clock: Clock) -> Bench:
    shutil.copytree(lab_template, tmp_path / "lab")
    return Bench(tmp_path / "lab", clock)


# --- first and next starts


def test_a_second_provisioning_keeps_every_byte(bench: Bench) -> None:
    bench.service.close()
    before = {path.name: path.read_bytes() for path in bench.directory.glob("*.vault")}
    provision(bench.directory, PASSPHRASE, PROJECT, NOW + DAY)
    assert {path.name: path.read_bytes() for path in bench.directory.glob("*.vault")} == before


def test_provisioning_over_another_project_is_refused(bench: Bench) -> None:
    bench.service.close()
    with pytest.raises(LocalError) as caught:
        provision(bench.directory, PASSPHRASE, PROJECT[::-1], NOW)
    assert caught.value.code == "security.project"


def test_a_first_start_that_was_cut_off_begins_anew(tmp_path: Path, clock: Clock) -> None:
    left = tmp_path / ".keys.new"
    left.mkdir()
    (left / "keys.vault").write_bytes(b"half a vault")
    (tmp_path / "keys").mkdir()
    provision(tmp_path / "keys", PASSPHRASE, PROJECT, NOW)
    assert not left.exists()
    SecurityService.open(tmp_path / "keys", PASSPHRASE, clock=clock).close()


def test_killed_at_any_moment_of_the_first_start_it_starts_next_time(tmp_path: Path, clock: Clock) -> None:
    program = (
        "import sys; from pathlib import Path; from meterseal.security.service import provision;"
        f"print('go', flush=True); provision(Path(sys.argv[1]), {PASSPHRASE!r}, bytes(16), {NOW})"
    )
    for number in range(6):
        directory = tmp_path / f"keys{number}"
        child = subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.08 * number)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        provision(directory, PASSPHRASE, bytes(16), NOW)
        SecurityService.open(directory, PASSPHRASE, clock=clock).close()


def test_a_wrong_passphrase_at_a_next_start(bench: Bench, clock: Clock) -> None:
    bench.service.close()
    with pytest.raises(TrustError) as caught:
        SecurityService.open(bench.directory, b"not the passphrase", clock=clock)
    assert caught.value.code == "security.passphrase"
    SecurityService.open(bench.directory, PASSPHRASE, clock=clock).close()  # nothing stayed locked


def test_the_service_runs_without_the_offline_directory(bench: Bench, clock: Clock) -> None:
    bench.service.close()
    shutil.rmtree(bench.directory / "offline")
    SecurityService.open(bench.directory, PASSPHRASE, clock=clock).close()


@pytest.mark.parametrize("name", ["keys.vault", "ca.vault", "registry.db", "audit.db"])
def test_a_missing_file_is_named(bench: Bench, clock: Clock, name: str) -> None:
    bench.service.close()
    (bench.directory / name).unlink()
    with pytest.raises(LocalError) as caught:
        SecurityService.open(bench.directory, PASSPHRASE, clock=clock)
    assert caught.value.code == "security.missing"
    assert name in caught.value.message


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineError) as caught:
        provision(tmp_path / "file" / "keys", PASSPHRASE, PROJECT, NOW)
    assert caught.value.code == "security.disk"


def test_files_are_for_their_owner_alone(bench: Bench) -> None:
    for path in bench.directory.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


# --- enrolment


@pytest.mark.parametrize("suite", [1, 2])
async def test_a_module_is_given_what_it_needs(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    given = module.given
    assert given is not None
    assert given.project_id == PROJECT
    assert given.bound_at % DAY == 0
    assert 0 <= NOW - given.bound_at < DAY
    assert len(given.chain) == (2 if suite == 1 else 0)
    if suite == 1:
        leaf = certificates.verify_chain(given.chain, root=given.root, purpose="device", at=NOW)
        assert leaf.point == module.key.public_point
    facts = await bench.headend.device_facts(module.device_id)
    assert (facts.module_id, facts.suite, facts.chain) == (module.module_id, suite, given.chain)


async def test_a_lost_answer_is_made_up_for_by_asking_again(bench: Bench) -> None:
    module = await bench.module(1)
    again = bench.restarted()
    answers = await again.platform.personalise_batch([module.request])
    assert module.given is not None
    assert answers[0].chain == module.given.chain
    before = module.k_bound.check_value()
    module.take(answers[0])
    assert module.k_bound.check_value() == before


async def test_a_module_moves_to_no_other_device(bench: Bench) -> None:
    module = await bench.module(1)
    for change in (
        {"device_id": bytes(8)},
        {"module_point": Sm2PrivateKey.generate().public_point},
        {"suite": 2},
    ):
        with pytest.raises(TrustError) as caught:
            await bench.platform.personalise_batch([structs.replace(module.request, **change)])
        assert caught.value.code == "security.module-bound"


async def test_a_device_has_one_module_in_service(bench: Bench) -> None:
    module = await bench.module(1)
    second = structs.replace(Module(2).request, device_id=module.device_id)
    with pytest.raises(TrustError) as caught:
        await bench.platform.personalise_batch([second])
    assert caught.value.code == "security.device-bound"
    await bench.platform.withdraw(module.device_id, module.module_id)
    with pytest.raises(TrustError) as gone:
        await bench.platform.device_facts(module.device_id)
    assert gone.value.code == "security.not-enrolled"
    await bench.platform.personalise_batch([second])
    assert (await bench.platform.device_facts(module.device_id)).module_id == second.module_id
    withdrawn = await bench.platform.device_facts(module.device_id, module.module_id)
    assert withdrawn.state == "withdrawn"  # its evidence can still be checked
    with pytest.raises(TrustError):
        await bench.platform.device_facts(bytes(8), module.module_id)
    with pytest.raises(TrustError) as caught:
        await bench.platform.personalise_batch([module.request])
    assert caught.value.code == "security.module-bound"


async def test_a_batch_is_enrolled_whole_or_not_at_all(bench: Bench) -> None:
    taken = await bench.module(1)
    modules = [Module(number, 1 + number % 2) for number in range(2, 302)]
    with pytest.raises(TrustError):
        await bench.platform.personalise_batch(
            [*(module.request for module in modules), structs.replace(taken.request, suite=2)]
        )
    assert (await bench.platform.usage()).modules == 1
    answers = await bench.platform.personalise_batch([module.request for module in modules])
    for module, answer in zip(modules, answers, strict=True):
        module.take(answer)
    assert (await bench.restarted().platform.usage()).modules == 301


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": b"short"},
        {"module_id": bytes(9)},
        {"suite": 3},
        {"module_point": b"\x04" + bytes(64)},
        {"module_point": b""},
    ],
    ids=["device id", "module id", "suite", "point off the curve", "no point"],
)
async def test_a_malformed_request_enrols_nothing(bench: Bench, change: dict[str, object]) -> None:
    with pytest.raises(LocalError) as caught:
        await bench.platform.personalise_batch([structs.replace(Module(1).request, **change)])
    assert caught.value.code == "security.request"
    assert (await bench.platform.usage()).modules == 0


async def test_doubles_in_a_batch_and_batches_too_large_are_refused(bench: Bench) -> None:
    one = Module(1).request
    for batch in ([one, one], [], [one] * 1001):
        with pytest.raises(LocalError) as caught:
            await bench.platform.personalise_batch(batch)
        assert caught.value.code == "security.request"


async def test_keys_in_clear_outside_a_lab_are_refused(bench: Bench) -> None:
    with pytest.raises(TrustError) as caught:
        await bench.platform.lab_issue(bytes(8), bytes(8), 1)
    assert caught.value.code == "security.not-lab"
    assert (await bench.refusals())[-1].code == "security.not-lab"
    assert (await bench.platform.usage()).modules == 0


@pytest.mark.parametrize("suite", [1, 2])
async def test_a_lab_device_shakes_hands_with_what_it_was_issued(lab: Bench, suite: int) -> None:
    module = Module(1, suite)
    issued = await lab.platform.lab_issue(module.device_id, module.module_id, suite)
    from meterseal.crypto.handles import SymmetricKey

    module.k_bound = SymmetricKey.from_bytes(issued.k_bound, "K_b")
    if suite == 1:
        module.key = Sm2PrivateKey.from_scalar(issued.device_key)
    module.given = m.Personalisation(
        device_id=module.device_id,
        module_id=module.module_id,
        suite=suite,
        project_id=issued.project_id,
        key_version=issued.key_version,
        chain=issued.chain,
        root=issued.root,
        envelope=b"",
        check_value=b"",
        bound_at=NOW - NOW % DAY,
    )
    session, reply = await lab.shake(module)
    assert session.keys == reply.keys
    assert (await lab.platform.device_facts(module.device_id)).lab
    assert issued.k_bound.hex() not in repr(issued)


# --- data keys


async def test_a_data_key_opens_for_its_purpose_and_name_only(bench: Bench) -> None:
    made = await bench.platform.data_key("customer", "c-17")
    again = bench.restarted()
    assert (await again.platform.unwrap_data_key("customer", "c-17", made.wrapped)).key == made.key
    for purpose, key_id, wrapped in [
        ("customer", "c-18", made.wrapped),
        ("journal", "c-17", made.wrapped),
        ("customer", "c-17", made.wrapped[:-1] + bytes((made.wrapped[-1] ^ 1,))),
        ("customer", "c-17", b"\x00\x09" + made.wrapped[2:]),
        ("customer", "c-17", b""),
    ]:
        with pytest.raises(TrustError) as caught:
            await again.platform.unwrap_data_key(purpose, key_id, wrapped)
        assert caught.value.code == "security.wrapped"
    assert (await again.platform.data_key("customer", "c-17")).key != made.key


@pytest.mark.parametrize(
    ("purpose", "key_id"), [("", "x"), ("Journal", "x"), ("a\x00b", "x"), ("j", ""), ("j", "x" * 201)]
)
async def test_a_purpose_that_is_none_is_refused(bench: Bench, purpose: str, key_id: str) -> None:
    with pytest.raises(LocalError) as caught:
        await bench.platform.data_key(purpose, key_id)
    assert caught.value.code == "security.purpose"


async def test_a_data_key_reaches_its_user_as_a_handle(bench: Bench) -> None:
    source = DataKeySource(bench.platform)
    key, wrapped, version = await source.new("bills", "bills")
    sealed = key.gcm_seal(b"a bill", b"place")
    assert (await source.open("bills", "bills", version, wrapped)).gcm_open(sealed, b"place") == b"a bill"


async def test_a_session_key_does_not_open_as_a_data_key(bench: Bench) -> None:
    _, reply = await bench.shake(await bench.module(1))
    with pytest.raises(TrustError):
        await bench.platform.unwrap_data_key("session", reply.session_id.hex(), reply.wrapped)
    made = await bench.platform.data_key("session", "s")
    with pytest.raises(TrustError):
        await bench.headend.unwrap(reply.session_id, reply.device_id, made.wrapped)


# --- evidence of suite 2


async def test_evidence_holds_for_its_module_statement_and_version_only(bench: Bench) -> None:
    module, other = await bench.module(1, 2), await bench.module(2, 2)
    signer = await bench.module(3, 1)
    statement = os.urandom(65)

    def mac(of: Module) -> bytes:
        return of.k_bound.diversify(b"EVID0001", "K_evid").mac(b"ms1 evidence\x00", statement)

    good = m.EvidenceRequest(
        device_id=module.device_id,
        module_id=module.module_id,
        key_version=1,
        statement=statement,
        mac=mac(module),
    )
    wrong = [
        structs.replace(good, statement=bytes(65)),
        structs.replace(good, mac=mac(other)),
        structs.replace(good, mac=good.mac[:16]),
        structs.replace(good, module_id=other.module_id),
        structs.replace(good, device_id=other.device_id),
        structs.replace(good, module_id=bytes(8)),
        structs.replace(good, device_id=signer.device_id, module_id=signer.module_id, mac=mac(signer)),
    ]
    assert await bench.platform.check_evidence_batch([good, *wrong]) == (True, *[False] * len(wrong))
    assert await bench.platform.check_evidence(module.device_id, module.module_id, 1, statement, good.mac)
    with pytest.raises(LocalError):
        await bench.platform.check_evidence_batch([good] * 1001)


async def test_evidence_under_a_version_that_does_not_exist_is_no_evidence(bench: Bench) -> None:
    module = await bench.module(1, 2)
    assert not await bench.platform.check_evidence(
        module.device_id, module.module_id, 7, bytes(65), bytes(32)
    )


# --- who may ask for what


async def test_a_caller_outside_the_table_is_denied(bench: Bench) -> None:
    """Every method, every caller that its desk does not name: refused before the request is even read."""
    methods = bench.service.methods()
    callers = ("web", "keys", "headend", "platform", "operator", "concentrator", "")
    denied = 0
    for name, method in methods.items():
        for caller in callers:
            if caller in method.callers:
                continue
            with pytest.raises(ConsentError) as caught:
                await InProcess(methods, caller).call(name, Empty(), Empty)
            assert caught.value.code == "mesh.denied"
            denied += 1
    assert denied >= 4 * len(methods)


def test_the_zones_stay_apart(bench: Bench) -> None:
    """A head-end enrols nobody and reads no data key; the platform opens no session; web asks nothing."""
    methods = bench.service.methods()
    headend = {name for name, method in methods.items() if "headend" in method.callers}
    platform = {name for name, method in methods.items() if "platform" in method.callers}
    assert headend == {"hello", "device", "unwrap", "device_facts", "anchors", "revoked_since"}
    assert not platform & {"hello", "device", "unwrap"}
    partner = {name for name, method in methods.items() if "platform:*" in method.callers}
    assert partner == {
        "hello", "device", "device_facts", "check_evidence", "anchors", "authorise_command", "platform_certificate"
    }  # fmt: skip
    known = {"headend", "platform", "operator", "platform:*"}
    assert all(method.callers and method.callers <= known for method in methods.values())


async def test_over_real_tls_the_certificate_names_the_caller(bench: Bench, tmp_path: Path) -> None:
    tls = TlsDirectory(tmp_path / "tls")
    real_now = int(time.time() * 1000)  # noqa: TID251  # TLS judges certificates by the machine's clock
    passwords = tls.provision(PASSPHRASE, real_now)
    server = await serve(
        bench.service.methods(),
        host="127.0.0.1",
        port=0,
        context=server_context(tls.files("keys"), passwords.of("keys")),
    )

    connections: list[Connection] = []

    def sdk(name: str) -> SecuritySdk:
        context = client_context(tls.files(name), passwords.of(name))
        connections.append(Connection.tls("keys", "127.0.0.1", server.port, context))
        return SecuritySdk(connections[-1])

    module = Module(1)
    module.take(
        await sdk("platform").personalise(module.device_id, module.module_id, 1, module.key.public_point)
    )
    headend = sdk("headend")

    async def shake() -> None:
        run = module.run()
        platform = await headend.hello(run.hello(NOW), "10.0.0.1")
        reply = await headend.device(platform.session_id, run.platform(platform.message, NOW))
        assert run.session(reply.message, NOW).keys == reply.keys
        assert await headend.unwrap(reply.session_id, reply.device_id, reply.wrapped) == reply.keys

    await asyncio.gather(*(shake() for _ in range(3)))
    with pytest.raises(ConsentError):
        await sdk("web").anchors()
    with pytest.raises(ConsentError):
        await headend.personalise(bytes(8), bytes(8), 2, b"")
    with pytest.raises(PeerError) as caught:
        await headend.hello(b"no handshake message")
    assert caught.value.code == "link.header"
    for connection in connections:
        await connection.close()
    await server.close()
