"""What browser tests look at: `python -m tests.browser.process DIRECTORY`; it ends when its input closes."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

from meterseal.errors import EngineError
from meterseal.mesh import asgi
from meterseal.people.portal.app import create_app
from meterseal.people.portal.serve import LOOPBACK
from meterseal.people.portal.settings import PortalSettings
from tests.people.town import Town

ACCOUNTS = ("resident", "neighbour", "former", "operator")


async def main(folder: Path) -> None:
    """Build a town, serve it, say where."""
    town = await Town(folder).build()
    links = {
        who: ["/in#" + town.accounts.make_link(getattr(town, who), town.now) for _ in range(20)]
        for who in ACCOUNTS
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = asyncio.Event()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    waiting = asyncio.create_task(reader.read())
    waiting.add_done_callback(lambda _: stop.set())

    def said() -> None:
        sys.stdout.write(json.dumps({"base": f"http://127.0.0.1:{port}", "links": links}) + "\n")
        sys.stdout.flush()

    app = create_app(town.web(), PortalSettings(hosts=LOOPBACK, sign_ins=1000))
    await asgi.serve(app, "127.0.0.1", port, stop, said, busy=lambda why: EngineError("portal.listen", why))
    await town.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
