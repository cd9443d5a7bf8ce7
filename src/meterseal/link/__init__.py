"""The secure link of LINK.md, version 1: handshake, records, evidence, transports; bytes in, bytes out.

No input or output, no clock, no randomness: nonces, own private keys and trust decisions come through ports.
"""
