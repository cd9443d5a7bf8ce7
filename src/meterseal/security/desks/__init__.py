"""The areas of acts of the security service, one file each; `service` composes them.

A desk checks what it is asked, acts through the parts of `security`, and writes the audit entry.
"""
