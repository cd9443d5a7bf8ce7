"""Each check of the handshake, switched off from outside: what is patched, in which game, and what must then break.

Nothing of this is in shipped code. A switch takes the one check away and leaves all others standing, so
that what is found is what this check alone holds off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from meterseal.crypto import certificates
from meterseal.crypto.certificates import Certificate
from meterseal.errors import TrustError
from meterseal.link import device_run, identities, platform_run, proving
from meterseal.link.handshake import DeviceRun, Enrolment
from meterseal.link.messages import Hello, Platform
from tests.link.search.handshakes import ROGUE_DEVICES, ROGUE_PLATFORMS, Plan
from tests.link.search.parties import A, B

Patch = Callable[[pytest.MonkeyPatch], None]


class Switch(NamedTuple):
    """A check: its name on the list of LINK section 6, what is taken away, the game, and the invariants that fall.

    Of several the first falls first; the next is what the attacker reaches when it goes on.
    """

    check: str
    what: str
    plan: Plan
    falls: tuple[str, ...]
    off: Patch


HONEST_2 = Plan("suite 2", ((2, A), (2, A), (2, B)), swaps=2, times=1)
HONEST_1 = Plan("suite 1", ((1, A), (1, A), (1, B)), times=1)
KEYS_LEAKED = Plan(
    "suite 1, key tree leaked",
    ((1, A), (1, B)),
    cast=(
        "A with the attacker's certificate",
        "A with A's certificate and another key",
        "A with a certificate of its own making",
        "A in suite 2",
        "platform with a certificate of its own making",
        "platform of another project",
        "platform with our chain and another key",
        "platform in suite 2",
    ),
    times=1,
    restarts=0,
    key_tree_leaked=True,
)
SIGNING_LEAKED = Plan(
    "suite 1, signing key leaked",
    ((1, A), (1, A), (1, B)),
    cast=("own module", "platform with our signing key and no K_link"),
    times=1,
    restarts=0,
)
IMPOSTOR_2 = Plan(
    "suite 2, a platform without keys",
    ((2, A), (2, A), (2, B)),
    cast=("own module, suite 2", "platform in suite 2 with no K_link"),
    swaps=2,
    times=1,
    restarts=0,
)
INSIDER = Plan(
    "an enrolled module in wrong hands",
    ((1, A), (1, A), (1, B)),
    cast=("own module",),
    times=1,
    restarts=0,
)
GAMES = (INSIDER, HONEST_2, HONEST_1, KEYS_LEAKED, SIGNING_LEAKED, IMPOSTOR_2)
assert set(KEYS_LEAKED.cast) | set(SIGNING_LEAKED.cast) | set(IMPOSTOR_2.cast) == {
    *ROGUE_DEVICES,
    *ROGUE_PLATFORMS,
}


def nothing(_: pytest.MonkeyPatch) -> None:
    """For checks that are switched off by what the ports draw."""


def _swallow(
    patch: pytest.MonkeyPatch, module: object, name: str, code: str, instead: Callable[..., object]
) -> None:
    """The function as it is, but for its refusal with this code, which must be its last check."""
    honest = getattr(module, name)

    def lenient(*given: Any, **named: Any) -> object:
        try:
            return honest(*given, **named)
        except TrustError as error:
            if error.code != code:
                raise
            return instead(*given, **named)

    patch.setattr(module, name, lenient)


def _leaf(chain: Sequence[bytes], **_: object) -> Certificate:
    return certificates.parse(chain[0])


def no_ids(patch: pytest.MonkeyPatch) -> None:
    _swallow(patch, identities, "check_device_chain", "link.identity", _leaf)


def no_project(patch: pytest.MonkeyPatch) -> None:
    _swallow(patch, identities, "check_platform_chain", "link.project", _leaf)


def no_chain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(certificates, "verify_chain", _leaf)


def no_hello_mac(patch: pytest.MonkeyPatch) -> None:
    def enrolled(ports: platform_run.PlatformPorts, hello: Hello) -> Enrolment:
        found = ports.enrolled(hello.device_id, hello.module_id, hello.key_version)
        assert found is not None
        if found.suite != hello.suite:
            raise TrustError("link.suite", "Another suite than the module's own.")
        return found

    _swallow(patch, platform_run, "check_hello", "link.hello-mac", enrolled)


def no_suite_at_the_service(patch: pytest.MonkeyPatch) -> None:
    """The service goes on in the suite that HELLO names."""

    def named(ports: platform_run.PlatformPorts, hello: Hello) -> Enrolment:
        found = ports.enrolled(hello.device_id, hello.module_id, hello.key_version)
        assert found is not None
        return Enrolment(hello.suite, found.link_key)

    _swallow(patch, platform_run, "check_hello", "link.suite", named)


def no_suite_at_the_device(patch: pytest.MonkeyPatch) -> None:
    """The device goes on in the suite that PLATFORM names."""
    honest = DeviceRun._answer

    def follow(run: DeviceRun, platform: Platform) -> bytes:
        identity, ephemeral = run._identity, run._ephemeral
        if platform.suite == 2:
            run._identity = device_run.Identity(2, *_ids(identity), ())
            run._ephemeral = None
        try:
            return honest(run, platform)
        except TrustError:
            run._identity, run._ephemeral = identity, ephemeral
            raise

    patch.setattr(DeviceRun, "_answer", follow)


def _ids(identity: device_run.Identity) -> tuple[bytes, bytes, int]:
    return identity.device_id, identity.module_id, identity.key_version


def _always(*_: object) -> bool:
    return True


def no_signature_at_the_device(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(device_run, "sm2", SimpleNamespace(verify=_always))


def no_signature_at_the_service(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(platform_run, "sm2", SimpleNamespace(verify=_always))


def no_fin_at_the_device(patch: pytest.MonkeyPatch) -> None:
    """`equal` is used for fin_p alone in this module."""
    patch.setattr(device_run, "equal", _always)


def no_fin_at_the_service(patch: pytest.MonkeyPatch) -> None:
    """`equal` judges the HELLO mac, the repeat of DEVICE and fin_d; inside `_issue` only the last."""
    honest = platform_run.PlatformRun._issue

    def lenient(run: platform_run.PlatformRun, sealed: Any, now: int) -> platform_run.Granted:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(platform_run, "equal", _always)
            return honest(run, sealed, now)

    patch.setattr(platform_run.PlatformRun, "_issue", lenient)


def no_tag(patch: pytest.MonkeyPatch) -> None:
    """DEVICE and SESSION are opened whatever their tag."""
    patch.setattr(proving, "equal", _always)


def both(*switches: Patch) -> Patch:
    def off(patch: pytest.MonkeyPatch) -> None:
        for one in switches:
            one(patch)

    return off


def _stale(plan: Plan, *draws: str) -> Plan:
    return plan._replace(stale=frozenset(draws), name=f"{plan.name}, stale {' and '.join(draws)}")


SWITCHES = (
    Switch(
        "nonce", "N_d is the same in every run", _stale(HONEST_2, "N_d"), ("answered", "one each"), nothing
    ),
    Switch(
        "nonce",
        "N_p and session_id are the same in every run",
        _stale(HONEST_2, "N_p", "session_id"),
        ("fresh", "one each"),
        nothing,
    ),
    Switch("nonce", "N_p alone is the same in every run", _stale(HONEST_2, "N_p"), ("fresh",), nothing),
    Switch("ids", "the certificate may name others than HELLO", KEYS_LEAKED, ("answered",), no_ids),
    Switch(
        "suite",
        "the service goes on in the suite that HELLO names",
        KEYS_LEAKED,
        ("agreement", "answered"),
        no_suite_at_the_service,
    ),
    Switch(
        "suite",
        "the device goes on in the suite that PLATFORM names",
        KEYS_LEAKED,
        ("asked", "agreement"),
        no_suite_at_the_device,
    ),
    Switch(
        "signature",
        "the device takes any signature",
        KEYS_LEAKED,
        ("asked", "agreement"),
        no_signature_at_the_device,
    ),
    Switch(
        "signature",
        "the service takes any signature",
        KEYS_LEAKED,
        ("answered",),
        no_signature_at_the_service,
    ),
    Switch("chain", "chains lead to any root", KEYS_LEAKED, ("asked", "answered", "agreement"), no_chain),
    Switch(
        "project", "the platform may be another project's", KEYS_LEAKED, ("asked", "agreement"), no_project
    ),
    Switch("fin", "the device takes any fin_p, suite 1", SIGNING_LEAKED, ("asked",), no_fin_at_the_device),
    Switch("fin", "the device takes any fin_p, suite 2", IMPOSTOR_2, ("asked",), no_fin_at_the_device),
    Switch("HELLO mac", "the service takes any mac, suite 1", HONEST_1, ("greeted",), no_hello_mac),
    Switch("HELLO mac", "the service takes any mac, suite 2", HONEST_2, ("greeted",), no_hello_mac),
    Switch(
        "handshake tag", "DEVICE and SESSION open with any tag", HONEST_2, ("answered", "agreement"), no_tag
    ),
)
