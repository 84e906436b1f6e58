"""Real programs, unmodified, under `tulipa run`: each in a process of its own, with a real client at the other end.

The programs are in `programs/`; they import asyncio or a library and nothing of Tulipa. Each says over its protocol or
on its output which loop it runs on, so that a test cannot pass on the wrong one.
"""
