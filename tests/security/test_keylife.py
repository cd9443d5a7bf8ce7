"""A module's bound key moves to a new version over the link; nothing else moves it, and nothing locks it out."""

from __future__ import annotations

import pytest
from msgspec import structs

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError, TrustError
from meterseal.link import commands
from meterseal.link.control import read_key
from meterseal.security import orders as o
from meterseal.security.hierarchy import renew_diak

from .conftest import Bench, Module
from .people import founded
from .test_commanding import order, signed


def take(module: Module, update: o.KeyUpdate, k_root: bytes) -> None:
    """What the module does with KEY: the new key is in its slot, and it greets under it."""
    root = SymmetricKey.from_bytes(k_root, "K_r")
    assert module.given is not None
    version, bound = read_key(
        root.diversify(b"UPDT0001", "K_updt"),
        module.device_id,
        module.module_id,
        module.given.key_version,
        update.content,
    )
    assert version == update.version
    module.k_bound = bound
    module.given = structs.replace(module.given, key_version=version)


def root_of(module: Module) -> bytes:
    assert module.given is not None
    return module.key.decrypt(module.given.envelope)[16:]


@pytest.mark.parametrize("suite", [1, 2])
async def test_a_module_moves_and_its_old_version_ends(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    k_root, before = root_of(module), module.run()
    with pytest.raises(LocalError) as caught:
        await bench.platform.key_update(module.device_id)
    assert caught.value.code == "security.key-current"
    assert renew_diak(bench.service.room.keys) == 2
    update = await bench.platform.key_update(module.device_id)
    assert (update.version, len(update.content)) == (2, 36)
    assert await bench.platform.key_update(module.device_id) == update
    await bench.shake(module)  # the old slot serves until the new one was shown
    assert (await bench.platform.device_facts(module.device_id)).key_version == 1

    half_open = before.hello(bench.clock.now)
    answer = await bench.headend.hello(half_open)
    late = before.platform(answer.message, bench.clock.now)
    take(module, update, k_root)
    _, reply = await bench.shake(module)
    assert reply.key_version == 2
    assert (await bench.platform.device_facts(module.device_id)).key_version == 2
    with pytest.raises(TrustError) as caught_late:
        await bench.headend.device(answer.session_id, late)
    assert caught_late.value.code == "link.key-version"

    old = structs.replace(module.given, key_version=1)
    module.given = old
    module.k_bound = bench.service.room.tree.bound(module.device_id, module.module_id, 1)
    again = bench.restarted()
    with pytest.raises(TrustError) as caught_old:
        await again.shake(module)
    assert caught_old.value.code == "link.key-version"


async def test_a_module_that_missed_an_update_takes_the_next(bench: Bench) -> None:
    """Two rotations: a module that took the first and never greeted under it greets under either."""
    module, other = await bench.module(1), await bench.module(2)
    k_root = root_of(module)
    renew_diak(bench.service.room.keys)
    second = await bench.platform.key_update(module.device_id)
    renew_diak(bench.service.room.keys)
    third = await bench.platform.key_update(module.device_id)
    assert third.version == 3
    now = bench.restarted()
    take(module, second, k_root)
    await now.shake(module)
    assert (await now.platform.device_facts(module.device_id)).key_version == 2
    take(module, third, k_root)
    await now.shake(module)
    assert (await now.platform.device_facts(module.device_id)).key_version == 3
    await now.shake(other)  # one that was offered nothing goes on as it was
    assert (await now.platform.device_facts(other.device_id)).key_version == 1


async def test_a_version_that_was_not_offered(bench: Bench) -> None:
    """The key is known by whoever has PROJECT; without KEY sent, the new version is not taken."""
    module = await bench.module(1)
    renew_diak(bench.service.room.keys)
    assert module.given is not None
    module.given = structs.replace(module.given, key_version=2)
    module.k_bound = bench.service.room.tree.bound(module.device_id, module.module_id, 2)
    with pytest.raises(TrustError) as caught:
        await bench.shake(module)
    assert caught.value.code == "link.key-version"


async def test_the_update_of_another_module(bench: Bench) -> None:
    module, other = await bench.module(1), await bench.module(2)
    renew_diak(bench.service.room.keys)
    update = await bench.platform.key_update(other.device_id)
    with pytest.raises(TrustError) as caught:
        take(module, update, root_of(module))
    assert caught.value.code == "link.key-mac"


async def test_a_device_without_a_module_gets_no_key(bench: Bench) -> None:
    with pytest.raises(TrustError) as caught:
        await bench.platform.key_update(bytes(8))
    assert caught.value.code == "security.not-enrolled"


async def test_new_modules_are_born_with_the_newest_version(bench: Bench) -> None:
    renew_diak(bench.service.room.keys)
    module = await bench.restarted().module(1)
    assert module.given is not None
    assert module.given.key_version == 2


async def test_a_command_that_waited_over_a_key_update_is_authorised_anew(bench: Bench) -> None:
    """The same order after the module moved: the same number, under the key that the module has now."""
    module = await bench.module(1)
    an, _ = await founded(bench)
    asked = order(module)
    before = await bench.platform.authorise_command(*signed(asked, an))
    k_root = root_of(module)
    renew_diak(bench.service.room.keys)
    take(module, await bench.platform.key_update(module.device_id), k_root)
    await bench.shake(module)
    after = await bench.platform.authorise_command(*signed(asked, an))
    assert after.number == before.number
    key = module.k_bound.diversify(b"CMND0001", "K_cmnd")
    expected = commands.authorise(key, module.device_id, after.number, asked.not_after, asked.frame)
    assert after.authorisation == expected != before.authorisation


async def test_only_modules_behind_the_newest_key_are_named_and_asking_for_them_leaves_no_refusal(
    bench: Bench,
) -> None:
    modules = [await bench.module(number) for number in range(1, 6)]
    assert (await bench.platform.keys_due()).behind == 0
    assert renew_diak(bench.service.room.keys) == 2
    moved = modules[1]
    take(moved, await bench.platform.key_update(moved.device_id), root_of(moved))
    await bench.shake(moved)
    left = [one.device_id for one in modules if one is not moved]
    everything = await bench.platform.keys_due()
    assert (list(everything.device_ids), everything.behind, everything.last) == (left, 4, b"")
    found: list[bytes] = []
    after = b""
    while True:
        page = await bench.platform.keys_due(after, 3)
        found += page.device_ids
        after = page.last
        if not after:
            break
    assert found == left
    for device_id in found:
        assert (await bench.platform.key_update(device_id)).version == 2
    assert await bench.refusals() == []
