"""The public face of calls between processes: what to offer, how to serve it, how to call it.

It adds nothing of its own; the parts live in `method`, `frames`, `server` and `client`.
"""

from meterseal.mesh.client import Connection
from meterseal.mesh.frames import LARGEST
from meterseal.mesh.method import Empty, InProcess, Method, Methods, Rpc, T, offered_to, pack, unpack
from meterseal.mesh.server import OPERATOR, Server, serve, serve_unix
from meterseal.mesh.tally import Refused, Tally

__all__ = [
    "LARGEST",
    "OPERATOR",
    "Connection",
    "Empty",
    "InProcess",
    "Method",
    "Methods",
    "Refused",
    "Rpc",
    "Server",
    "T",
    "Tally",
    "offered_to",
    "pack",
    "serve",
    "serve_unix",
    "unpack",
]
