"""The store of measurements: sealed journal, sealed segments, manifest, and rows in memory.

It judges no reading; `mdms.ingest` and `mdms.vee` do.
"""
