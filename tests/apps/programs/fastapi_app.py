"""A FastAPI application, to be served by uvicorn: validation, threads, streaming, background work, a lifespan."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    print("lifespan begins", flush=True)
    yield
    print("lifespan ends", flush=True)


app = FastAPI(lifespan=lifespan)
done: list[str] = []


class Item(BaseModel):
    name: str
    price: float


@app.get("/")
async def root() -> dict[str, str]:
    return {"loop": type(asyncio.get_running_loop()).__module__}


@app.post("/items")
async def create(item: Item) -> Item:
    return Item(name=item.name.upper(), price=item.price * 2)


@app.get("/thread")
def in_a_thread() -> dict[str, bool]:
    return {"main": threading.current_thread() is threading.main_thread()}


@app.get("/stream")
async def stream(count: int) -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(count):
            yield b"%06d\n" % number
            await asyncio.sleep(0)

    return StreamingResponse(chunks())


@app.post("/background")
async def background(tasks: BackgroundTasks) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        done.append("worked")

    tasks.add_task(work)


@app.get("/done")
async def report() -> list[str]:
    return done


@app.post("/size")
async def size(request: Request) -> int:
    return len(await request.body())


@app.websocket("/upper")
async def upper(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text.upper())
