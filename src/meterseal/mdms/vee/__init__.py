"""Validation and estimation (VEE 数据校验与估算): what the stored registers say about themselves.

Rules and estimators are pure; only `engine` touches the store.
"""
