"""A field in one directory: it works with the system that enrolled it, and says so beside another."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.app.config import Layout
from meterseal.errors import LocalError
from meterseal.kit.demo import Demo, Wish
from meterseal.kit.field import Field
from meterseal.kit.plan import make_plan
from meterseal.mesh.authority import TlsDirectory


def _enrolled(field: Field, root: bytes) -> None:
    field.concentrator.mkdir(parents=True)
    field.identity.root.write_bytes(root)
    (field.directory / "field.json").write_bytes(b"{}")


def _system(layout: Layout, root: bytes) -> None:
    layout.tls.mkdir(parents=True)
    TlsDirectory(layout.tls).files("web").root.write_bytes(root)


def test_a_field_is_taken_up_beside_the_system_that_enrolled_it_alone(tmp_path: Path) -> None:
    field = Field(tmp_path / "town.field", make_plan(seed=1, until=1_700_000_000_000, days=1, dwellings=1))
    ours, other = Layout(tmp_path / "town"), Layout(tmp_path / "other")
    field.check(ours)  # nothing was enrolled yet, and there is no system yet
    _enrolled(field, b"root of town")
    _system(ours, b"root of town")
    field.check(ours)
    _system(other, b"another root")
    for layout in (other, Layout(tmp_path / "none")):
        with pytest.raises(LocalError) as caught:
            field.check(layout)
        assert caught.value.code == "kit.other-system"
        assert str(field.directory) in caught.value.message


async def test_a_demo_beside_the_field_of_a_system_that_is_gone_makes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "street"
    demo = Demo(Wish(data=data, dwellings=1, days=1), lambda _step, _share: None)
    _enrolled(demo.field, b"a root that is gone")
    with pytest.raises(LocalError) as caught:
        await demo.play()
    await demo.stop()
    assert caught.value.code == "kit.other-system"
    assert not data.exists()
    assert not Layout(data).passphrase_file.exists()
