"""Benchmarks of asyncio event loops: `python -m benchmarks`. See README.md beside this file."""
