"""A town served by a real portal process, and the system's Chromium that looks at it.

The process runs granian, the portal and the platform side over a real data directory; this one only looks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

CURE = "sudo apt-get install -y --no-install-recommends chromium fonts-wqy-microhei"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
ROOT = Path(__file__).parents[2]


class Served(Struct):
    """Where the portal listens, and twenty one-time links for each account."""

    base: str
    links: dict[str, list[str]]

    def link(self, who: str) -> str:
        """An address nobody has used yet."""
        return self.base + self.links[who].pop()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.browser.process", str(folder)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        env=environment,
        cwd=ROOT,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the portal process ended before it served; its words are above"
    yield Served(**json.loads(line))
    assert process.stdin is not None
    process.stdin.close()
    process.wait(15)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; gone with its module, as playwright keeps an event loop running that others would meet."""
    if CHROMIUM is None:
        pytest.skip(f"no Chromium on this machine; install it with: {CURE}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class Watched:
    """One browser window with a record of what must not happen in it."""

    def __init__(self, context: Any, base: str) -> None:
        self.page = context.new_page()
        self.base = base
        self.faults: list[str] = []
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.faults.append(f"asked another host: {request.url}")

    def open(self, path: str) -> Any:
        """Go to a path of ours, wait for scripts and charts, and check that nothing sticks out sideways."""
        answer = self.page.goto(path if path.startswith("http") else self.base + path)
        self.settled()
        return answer

    def settled(self) -> None:
        """Wait for the page and its charts."""
        self.page.wait_for_selector('body[data-ready="1"]')
        for number in range(self.page.locator("figure[data-chart]").count()):
            self.page.wait_for_selector(f'figure[data-chart][data-drawn="1"] >> nth={number}')
        wide, room = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        if wide > room:
            self.faults.append(f"{self.page.url} is {wide} px wide in a window of {room}")

    def enter(self, link: str) -> None:
        """Use a one-time link."""
        self.open(link)
        self.page.click("#enter")
        self.settled()


@pytest.fixture
def window(chromium: Any, served: Served, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes watched windows; afterwards none of them may have a fault."""
    made: list[tuple[Any, Watched]] = []

    def make(locale: str = "en-GB", width: int = 1280, **options: Any) -> Watched:
        size = {"width": width, "height": 844 if width < 500 else 900}
        context = chromium.new_context(viewport=size, locale=locale, **options)
        watched = Watched(context, served.base)
        made.append((context, watched))
        return watched

    yield make
    faults = [fault for _, watched in made for fault in watched.faults]
    for context, _ in made:
        context.close()
    assert faults == []
