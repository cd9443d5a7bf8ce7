"""Platforms of other people over real TLS: what an enrolled one is answered, and what nobody else is (HM 8.4.2, 8.5.1)."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec import structs

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import ConsentError, EngineError, LocalError, MetersealError, TrustError
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.client import Connection
from meterseal.mesh.requests import make_request
from meterseal.mesh.rpc import Server, serve
from meterseal.mesh.tls import Files, client_context, server_context
from meterseal.security import messages as m
from meterseal.security.platformorders import EnrolPlatform, WithdrawPlatform, attested_bytes
from meterseal.security.registry import Registry
from meterseal.security.sdk import SecuritySdk
from meterseal.security.sdk_platforms import PartnerConnection, PartnerSdk
from meterseal.security.service import SecurityService

from .conftest import NOW, PASSPHRASE, PROJECT, Bench, Clock, Module
from .people import HOUR, Person, fields, founded, operator, ordered
from .test_commanding import order, signed

PASSWORD = b"the partner's own password"
EVERYTHING = ("commands", "link", "modules", "trail")
OTHER_PROJECT = PROJECT[:-1] + b"\x09"


def machine_now() -> int:
    return int(time.time() * 1000)  # noqa: TID251  # TLS judges certificates by the machine's clock


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsDirectory:
    directory = TlsDirectory(tmp_path_factory.mktemp("partners") / "tls")
    directory.provision(PASSPHRASE, machine_now())
    return directory


class Authority:
    """The second root, opened once; Argon2 for each certificate is for the process (`app.keys`)."""

    def __init__(self, tls: TlsDirectory) -> None:
        self.tls, self.passwords = tls, tls.open(PASSPHRASE)
        self.issuer, self.root = tls.issuer(self.passwords), tls.files("root").root.read_bytes()

    async def platform(self, name: str, request: bytes) -> tuple[bytes, bytes]:
        return self.issuer.platform(name, request, machine_now()), self.root


@pytest.fixture(scope="module")
def authority(tls: TlsDirectory) -> Authority:
    return Authority(tls)


def enrolment(
    name: str, not_after: int = NOW + HOUR, purposes: tuple[str, ...] = EVERYTHING
) -> tuple[EnrolPlatform, bytes]:
    """A platform's application and its sealed TLS key."""
    key = Sm2PrivateKey.generate()
    request, sealed = make_request(name, PASSWORD)
    asked = EnrolPlatform(
        **fields(not_after),  # type: ignore[arg-type]
        caller=name,
        domain=PROJECT[8:10],
        business=PROJECT[10:12],
        contact="Night desk, telephone 021 5555 0102",
        purposes=purposes,
        point=key.public_point,
        tls_request=request,
    )
    return structs.replace(asked, attestation=key.sign(attested_bytes(asked))), sealed


class Town:
    """A security service on its sockets, its officers, and platforms that apply to it."""

    def __init__(self, bench: Bench, authority: Authority, folder: Path, people: tuple[Person, ...]) -> None:
        self.bench, self.authority, self.folder, self.people = bench, authority, folder, people
        self.tls, self.passwords = authority.tls, authority.passwords
        self.partners: Server | None = None
        self.processes: Server | None = None

    async def listen(self) -> None:
        context = server_context(self.tls.files("keys"), self.passwords.of("keys"))
        methods, tally = self.bench.service.methods(), self.bench.service.room.tally
        self.partners = await serve(
            methods, host="127.0.0.1", port=0, context=context, platforms=True, tally=tally
        )
        self.processes = await serve(methods, host="127.0.0.1", port=0, context=context, tally=tally)

    async def close(self) -> None:
        for server in (self.partners, self.processes):
            assert server is not None
            await server.close()

    def applied(self, name: str, purposes: tuple[str, ...] = EVERYTHING) -> EnrolPlatform:
        """An application; the key of its TLS request is in the platform's folder."""
        asked, sealed = enrolment(name, purposes=purposes)
        (self.folder / f"{name}.tls.key").write_bytes(sealed)
        return asked

    async def enrolled(self, name: str, purposes: tuple[str, ...] = EVERYTHING) -> None:
        """Apply, be ordered by two officers, fetch the certificate."""
        order = ordered("enrol-platform", self.applied(name, purposes), self.people)
        await operator(self.bench).submit(order)
        await self.fetched(name)

    async def fetched(self, name: str) -> None:
        given = await operator(self.bench).platform_certificate(name)
        (self.folder / f"{name}.crt").write_bytes(given.certificate)
        (self.folder / "root.crt").write_bytes(given.root)

    def way(self, name: str) -> PartnerConnection:
        assert self.partners is not None
        return PartnerConnection.of(self.folder, name, PASSWORD, "127.0.0.1", self.partners.port)

    async def withdrawn(self, name: str) -> None:
        request = WithdrawPlatform(**fields(), caller=name, reason="its contract ended")  # type: ignore[arg-type]
        await operator(self.bench).submit(ordered("withdraw-platform", request, self.people))

    async def said_of(self, name: str) -> list[m.AuditEntry]:
        entries = await operator(self.bench).audit(limit=1000)
        return [one.entry for one in entries if one.entry.caller == name]


@pytest.fixture
async def town(template: Path, tmp_path: Path, clock: Clock, authority: Authority) -> AsyncIterator[Town]:
    shutil.copytree(template, tmp_path / "keys")
    bench = Bench(tmp_path / "keys", clock)
    bench.service.room.tls = authority
    folder = tmp_path / "partner"
    folder.mkdir()
    made = Town(bench, authority, folder, await founded(bench))
    await made.listen()
    yield made
    await made.close()
    bench.service.close()


async def shaken(sdk: PartnerSdk, module: Module, now: int) -> m.SessionReply:
    run = module.run()
    platform = await sdk.hello(run.hello(now))
    reply = await sdk.device(platform.session_id, run.platform(platform.message, now))
    session = run.session(reply.message, now)
    assert session.keys == reply.keys
    return reply


async def test_an_enrolled_platform_gets_anchors_facts_and_a_session_of_its_own(town: Town) -> None:
    module = await town.bench.module(1)
    await town.enrolled("billing")
    async with town.way("billing") as sdk:
        anchors = await sdk.anchors()
        assert anchors.project_id == PROJECT
        facts = await sdk.device_facts(module.device_id)
        assert facts.module_id == module.module_id
        await shaken(sdk, module, town.bench.clock.now)
        assert await sdk.check_evidence_batch([]) == ()
    said = await town.said_of("platform:billing")
    assert not [one for one in said if one.refused]
    answered = [one.sentence.split()[0] for one in said if one.code == "security.platform-call"]
    assert answered == ["anchors", "device_facts", "hello", "device", "check_evidence"]
    listed = {one.caller: one for one in await operator(town.bench).platforms()}
    assert listed["platform:billing"].calls == {"trail": 1, "modules": 2, "link": 2}
    assert listed["platform:billing"].approved_by == ("an", "bo")


async def test_its_certificate_names_it_as_a_platform_that_calls_and_is_never_called(town: Town) -> None:
    await town.enrolled("billing")
    read = x509.load_pem_x509_certificate((town.folder / "billing.crt").read_bytes())
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:meterseal:platform:billing"]
    uses = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert (read.not_valid_after_utc - read.not_valid_before_utc).days <= 90
    assert isinstance(read.public_key(), ec.EllipticCurvePublicKey)


async def test_a_platform_that_was_not_enrolled(town: Town) -> None:
    """Its certificate is good TLS: somebody with the root issued it past the officers."""
    request, sealed = make_request("stranger", PASSWORD)
    given, root = await town.authority.platform("stranger", request)
    (town.folder / "stranger.crt").write_bytes(given)
    (town.folder / "root.crt").write_bytes(root)
    (town.folder / "stranger.tls.key").write_bytes(sealed)
    async with town.way("stranger") as sdk:
        for call in (sdk.anchors, sdk.certificate):
            with pytest.raises(ConsentError) as caught:
                await call()
            assert caught.value.code == "security.platform-unknown"
    said = await town.said_of("platform:stranger")
    assert {one.code for one in said} == {"security.platform-unknown"}
    assert all(one.refused and "not enrolled" in one.sentence for one in said)


async def test_a_withdrawn_platform_is_refused_on_its_open_connection(town: Town) -> None:
    await town.enrolled("billing")
    async with town.way("billing") as sdk:
        await sdk.anchors()
        await town.withdrawn("billing")
        for call in (sdk.anchors, sdk.certificate):  # the next call, on the connection that stands
            with pytest.raises(ConsentError) as caught:
                await call()
            assert caught.value.code == "security.platform-withdrawn"
    async with town.way("billing") as again:
        with pytest.raises(ConsentError):
            await again.anchors()
    refused = [one for one in await town.said_of("platform:billing") if one.refused]
    assert [one.code for one in refused] == ["security.platform-withdrawn"] * 3
    with pytest.raises(LocalError):
        await operator(town.bench).platform_certificate("billing")


async def test_a_withdrawn_name_never_comes_back(town: Town) -> None:
    """The certificate of the one that was withdrawn would be good TLS for the next one of that name."""
    await town.enrolled("billing")
    await town.withdrawn("billing")
    with pytest.raises(LocalError) as caught:
        await town.enrolled("billing")
    assert caught.value.code == "security.platform"
    await town.enrolled("billing-2")


PURPOSES: dict[str, Callable[[PartnerSdk, Module], object]] = {
    "trail": lambda sdk, module: sdk.anchors(),
    "modules": lambda sdk, module: sdk.device_facts(module.device_id),
    "link": lambda sdk, module: sdk.hello(module.run().hello(0)),
    "commands": lambda sdk, module: sdk.authorise_command(b"", ()),
}


@pytest.mark.parametrize("purpose", sorted(PURPOSES))
async def test_asking_outside_its_purpose(town: Town, purpose: str) -> None:
    module = await town.bench.module(1)
    others = tuple(one for one in EVERYTHING if one != purpose)
    await town.enrolled("billing", others)
    async with town.way("billing") as sdk:
        with pytest.raises(ConsentError) as caught:
            await PURPOSES[purpose](sdk, module)  # type: ignore[misc]
        assert caught.value.code == "security.platform-purpose"
    (refused,) = [one for one in await town.said_of("platform:billing") if one.refused]
    assert refused.code == "security.platform-purpose"
    assert purpose in refused.sentence


def foreign(registry: Registry, module: Module) -> None:
    """Put a module of another project into the registry, as a service of two projects would have it."""
    known = registry.of_device(module.device_id)
    assert known is not None
    registry._keep(structs.replace(known, project_id=OTHER_PROJECT))


@pytest.mark.parametrize("whose", ["nobody's module", "another project's module"])
async def test_asking_outside_its_project(town: Town, whose: str) -> None:
    module = await town.bench.module(1)
    asked = Module(2)
    if whose == "another project's module":
        asked = module
        foreign(town.bench.service.room.registry, module)
    else:
        asked.given = module.given
    await town.enrolled("billing")
    statement = m.EvidenceRequest(
        device_id=asked.device_id,
        module_id=asked.module_id,
        key_version=1,
        statement=bytes(65),
        mac=bytes(32),
    )
    async with town.way("billing") as sdk:
        calls = (
            lambda: sdk.device_facts(asked.device_id),
            lambda: sdk.device_facts(asked.device_id, asked.module_id),
            lambda: sdk.hello(asked.run().hello(town.bench.clock.now)),
            lambda: sdk.check_evidence_batch([statement]),
        )
        for call in calls:
            with pytest.raises(ConsentError) as caught:
                await call()
            assert caught.value.code == "security.platform-project"
    refused = [one for one in await town.said_of("platform:billing") if one.refused]
    assert [one.code for one in refused] == ["security.platform-project"] * len(calls)
    assert all("outside the project" in one.sentence for one in refused)
    assert refused[0].device_id == asked.device_id


async def test_a_command_is_authorised_to_a_platform_for_its_own_project_alone(town: Town) -> None:
    module = await town.bench.module(1)
    await town.enrolled("dispatch", ("commands",))
    async with town.way("dispatch") as sdk:
        given = await sdk.authorise_command(*signed(order(module), town.people[0]))
        assert given.number == 1
        for elsewhere in (order(module, project_id=OTHER_PROJECT), order(Module(2))):
            with pytest.raises(ConsentError) as caught:
                await sdk.authorise_command(*signed(elsewhere, town.people[0]))
            assert caught.value.code == "security.platform-project"
        foreign(town.bench.service.room.registry, module)
        with pytest.raises(ConsentError):
            await sdk.authorise_command(*signed(order(module), town.people[0]))


async def test_a_handshake_that_another_began_gives_no_keys_to_who_overheard_it(town: Town) -> None:
    module, now = await town.bench.module(1), town.bench.clock.now
    await town.enrolled("billing")
    run = module.run()
    hello = run.hello(now)
    begun = await town.bench.headend.hello(hello, "line")
    device = run.platform(begun.message, now)
    async with town.way("billing") as sdk:
        own = await sdk.hello(hello)
        assert own.session_id != begun.session_id
        with pytest.raises(TrustError) as caught:
            await sdk.device(begun.session_id, device)
        assert caught.value.code == "link.no-run"
        with pytest.raises(MetersealError):  # sealed for the run that the device answered, not for theirs
            await sdk.device(own.session_id, device[:6] + own.session_id + device[14:])
        reply = await town.bench.headend.device(begun.session_id, device)
        with pytest.raises(TrustError):
            await sdk.device(begun.session_id, device)
    assert run.session(reply.message, now).keys == reply.keys


@pytest.mark.parametrize("name", ["keys", "platform", "headend", "web", "operator"])
async def test_a_platform_named_like_a_process_is_none(town: Town, name: str) -> None:
    """Even with a certificate in that name: the mesh calls it `platform:NAME`, and the processes' listener hears none."""
    request, sealed = make_request(name, PASSWORD)
    given, root = await town.authority.platform(name, request)
    files = Files(town.folder / "x.crt", town.folder / "x.key", town.folder / "root.crt")
    for path, content in zip(files, (given, sealed, root), strict=True):
        path.write_bytes(content)
    context = client_context(files, PASSWORD)
    assert town.processes is not None
    assert town.partners is not None
    inside = Connection.tls("keys", "127.0.0.1", town.processes.port, context, patience=0.5, timeout=2)
    with pytest.raises(EngineError):
        await SecuritySdk(inside).usage()
    outside = Connection.tls("keys", "127.0.0.1", town.partners.port, context)
    with pytest.raises(ConsentError) as caught:
        await SecuritySdk(outside).usage()
    assert caught.value.code == "mesh.denied"
    await inside.close()
    await outside.close()
    assert town.bench.service.room.tally.due()[0].code == "mesh.caller"


async def test_what_the_mesh_refuses_is_in_the_services_log(town: Town) -> None:
    """Counted by the listener, written by the service, and the chain holds."""
    await town.enrolled("billing")
    async with town.way("billing") as sdk:
        for _ in range(3):
            with pytest.raises(ConsentError):
                await SecuritySdk(sdk._rpc).usage()
    service = town.bench.service
    await service.told(service.room.tally.due())
    await service.told(service.room.tally.due(ending=True))
    said = [one for one in await town.said_of("platform:billing") if one.code == "mesh.denied"]
    assert [one.refused for one in said] == [True, True]
    assert "usage" in said[0].sentence
    assert "2 times" in said[1].sentence
    assert (await operator(town.bench).verify_audit()).ok


async def test_the_processes_and_concentrators_are_not_heard_on_the_platforms_listener(town: Town) -> None:
    assert town.partners is not None
    context = client_context(town.tls.files("platform"), town.passwords.of("platform"))
    way = Connection.tls("keys", "127.0.0.1", town.partners.port, context, patience=0.5, timeout=2)
    with pytest.raises(EngineError):
        await SecuritySdk(way).usage()
    await way.close()


async def test_no_method_of_ours_answers_a_platform(town: Town) -> None:
    """Whatever is registered: what is not offered to platforms is refused by one answer."""
    await town.enrolled("billing")
    methods = town.bench.service.methods()
    ours = [name for name, method in methods.items() if not method.admits("platform:billing")]
    assert {"personalise", "unwrap", "data_key", "submit", "backup", "audit", "lab_issue"} <= set(ours)
    async with town.way("billing") as sdk:
        for name in ours:
            with pytest.raises(ConsentError) as caught:
                await sdk._rpc.call(name, m.FactsRequest(device_id=b""), m.Anchors)
            assert caught.value.code == "mesh.denied"


async def test_a_platform_renews_its_own_certificate_and_no_other(town: Town) -> None:
    await town.enrolled("billing")
    await town.enrolled("meters")
    async with town.way("billing") as sdk:
        renewed = await SecuritySdk(sdk._rpc).platform_certificate("meters")
        (town.folder / "billing.crt").write_bytes(renewed.certificate)
    assert b"BEGIN CERTIFICATE" in renewed.certificate
    async with town.way("billing") as again:
        await again.anchors()


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: b"",
        lambda raw: raw[:-1],
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: raw + bytes(2000),
        lambda raw: make_request("other", PASSWORD)[0],
    ],
    ids=["none", "cut", "signature changed", "too long", "another's name"],
)
async def test_a_tls_request_that_proves_nothing(town: Town, change: Callable[[bytes], bytes]) -> None:
    key, good = Sm2PrivateKey.generate(), town.applied("billing")
    bad = structs.replace(good, tls_request=change(good.tls_request), point=key.public_point, attestation=b"")
    bad = structs.replace(bad, attestation=key.sign(attested_bytes(bad)))
    with pytest.raises(TrustError) as caught:
        await operator(town.bench).submit(ordered("enrol-platform", bad, town.people))
    assert caught.value.code == "mesh.tls-request"
    assert "platform:billing" not in {one.caller for one in await operator(town.bench).platforms()}


async def test_a_platform_that_floods_is_slowed_down_and_fills_no_log(town: Town) -> None:
    await town.enrolled("billing")
    outcomes: list[str] = []
    async with town.way("billing") as sdk:

        async def ask() -> None:
            try:
                await sdk.device_facts(bytes(8))
            except MetersealError as error:
                outcomes.append(error.code)

        for _ in range(10):
            await asyncio.gather(*(ask() for _ in range(30)))
        assert set(outcomes) == {"security.platform-project", "security.platform-rate"}
        town.bench.clock.now += 10_000
        await sdk.anchors()
    written = [one for one in await town.said_of("platform:billing") if one.refused]
    assert len(written) == outcomes.count("security.platform-project") < 60
    (first,) = [one for one in town.bench.service.room.tally.due() if one.code == "security.platform-rate"]
    assert first.caller == "platform:billing"


async def test_an_enrolment_outlives_a_restart_and_a_closed_service_issues_nothing(
    town: Town, clock: Clock
) -> None:
    await town.enrolled("billing")
    await town.close()
    town.bench.service.close()
    town.bench.service = SecurityService.open(town.bench.directory, PASSPHRASE, clock=clock)
    await town.listen()
    async with town.way("billing") as sdk:
        await sdk.anchors()
        with pytest.raises(LocalError) as caught:
            await sdk.certificate()
        assert caught.value.code == "security.no-tls"
