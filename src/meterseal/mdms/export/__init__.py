"""Measurements on their way out: visible readings as CSV, Arrow, Parquet and CIM MeterReadings.

It decides nobody's right to them (`app` does) and holds no name: usage points are pseudonyms.
"""
