"""Process `web`: the portal for people. It asks the platform and knows no store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from meterseal.app.reach import Reach
from meterseal.people.portal.serve import serve_portal


async def main(orders: dict[str, Any], stop: asyncio.Event, ready: Callable[..., None]) -> None:
    """Serve the portal until told to end."""
    reach = Reach("web", orders)
    watching = asyncio.create_task(reach.watch())
    platform = reach.to("platform")
    await serve_portal(platform, host=reach.host, port=reach.ports["web"], stop=stop, ready=lambda: ready())
    watching.cancel()
    await platform.close()
