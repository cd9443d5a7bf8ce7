"""Secure smart metering, from the meter's security module to the resident's bill."""

__version__ = "0.1.0"
