"""aiofiles: many files at once, in threads, lines, seeking, temporary ones, errors. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiofiles
import aiofiles.os
import aiofiles.tempfile


async def main() -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    async with aiofiles.tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        async def write(number: int) -> int:
            async with aiofiles.open(folder / f"{number}.txt", "w") as file:
                for line in range(20):
                    await file.write(f"{number} {line}\n")
            return (await aiofiles.os.stat(folder / f"{number}.txt")).st_size

        sizes = await asyncio.gather(*map(write, range(50)))
        seen["sizes"] = sum(sizes)
        async with aiofiles.open(folder / "7.txt") as file:
            seen["lines"] = [line.strip() async for line in file][-1]
            await file.seek(2)
            seen["read"] = await file.read(3)
        seen["files"] = len(await aiofiles.os.listdir(folder))
        try:
            async with aiofiles.open(folder / "missing"):
                pass
        except FileNotFoundError as error:
            seen["error"] = error.strerror
    seen["gone"] = not await aiofiles.os.path.exists(folder)
    return seen


print(json.dumps(asyncio.run(main())))
