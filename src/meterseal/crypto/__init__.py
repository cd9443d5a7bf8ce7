"""Primitives of the path: SM4, SM3, SM2, certificates and opaque keys, thin over proven libraries.

No protocol lives here (that is `link`), and no key is stored here (that is `security`).
"""
