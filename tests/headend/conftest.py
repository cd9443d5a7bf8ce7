"""The security service of the handshake tests: the real one, without sockets."""

from tests.security.conftest import bench, cheap_stretching, clock, template

__all__ = ["bench", "cheap_stretching", "clock", "template"]
