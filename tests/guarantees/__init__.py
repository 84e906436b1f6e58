"""The guarantees of asyncio's event loop that other loops are known to break, each executed beside stock asyncio."""
