"""The cases: one file per part of asyncio. They import asyncio and nothing of Tulipa, and are not type-checked: half of
them pass what the types forbid."""
