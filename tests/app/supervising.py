"""`python -m tests.app.supervising FOLDER`: a supervisor in a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import sys

from meterseal.app.supervise import Spec, Supervisor


async def main(folder: str) -> None:
    supervisor = Supervisor(
        [
            Spec(
                name=manner,
                module="tests.app.children",
                arguments=[manner],
                orders={"folder": folder, "name": manner, "manner": manner},
            )
            for manner in ("serves", "deaf")
        ]
    )
    said = await supervisor.start()
    print(*(one["pid"] for one in said.values()), flush=True)  # noqa: T201
    await asyncio.sleep(60)


asyncio.run(main(sys.argv[1]))
