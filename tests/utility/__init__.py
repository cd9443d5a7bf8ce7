"""Tests of usage information, tariffs, bills and customers."""
