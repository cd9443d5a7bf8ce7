"""The people's side of the path: accounts, what each may see, and the portal they see it in.

It does not compute use or money (utility) and holds no readings (mdms).
"""
