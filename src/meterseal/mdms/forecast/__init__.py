"""Forecast of use (负荷预测): what will probably be used in the next hours, with quantiles, for one usage point or a zone.

Pure: history, calendar and weather are arguments. It reads no store, prices nothing and promises nothing.
"""
