"""The web process: pages for residents and operators in Simplified Chinese and English.

It opens no store; all it knows it asks of the platform through `people.messages`, in the name of who is
signed in.
"""
