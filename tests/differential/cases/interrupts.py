"""KeyboardInterrupt and SystemExit from everywhere, and Ctrl-C as a real signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from ..log import Log
from .scheduling import new_loop, turns


def press_ctrl_c() -> None:
    """What the terminal does."""
    os.kill(os.getpid(), signal.SIGINT)


def press_when_idle(loop: asyncio.AbstractEventLoop) -> None:
    """Press Ctrl-C once the loop has nothing left to do: a callback cannot know that, a little later it is so."""
    loop.call_soon_threadsafe(threading.Timer(0.05, press_ctrl_c).start)


def raiser(error: BaseException) -> Callable[..., None]:
    def raises(*_: object) -> None:
        raise error

    return raises


def case_from_callbacks(log: Log) -> None:
    for error in (KeyboardInterrupt("stop"), SystemExit(3)):
        with new_loop() as loop:
            log.watch(loop)
            loop.call_soon(log, "before")
            loop.call_soon(raiser(error))
            loop.call_soon(log, "left for the next run")
            log.attempt("run", loop.run_forever)
            log(loop.is_running(), loop.is_closed())
            turns(loop)


def case_from_timers_readers_and_threads(log: Log) -> None:
    with new_loop() as loop:
        log.watch(loop)
        loop.call_later(0, raiser(KeyboardInterrupt("timer")))
        log.attempt("timer", loop.run_forever)
        left, right = socket.socketpair()
        right.send(b"x")
        loop.add_reader(left, raiser(KeyboardInterrupt("reader")))
        log.attempt("reader", loop.run_forever)
        log(loop.remove_reader(left))
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(raiser(SystemExit("thread"))))
        thread.start()
        log.attempt("thread", loop.run_forever)
        thread.join()
        future = loop.create_future()
        future.add_done_callback(raiser(KeyboardInterrupt("done callback")))
        future.set_result(None)
        log.attempt("done callback", loop.run_forever)
        left.close()
        right.close()


def case_from_a_task(log: Log) -> None:
    async def exits(error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    for error in (KeyboardInterrupt("task"), SystemExit(4)):
        with new_loop() as loop:
            task = loop.create_task(exits(error))
            log.attempt("run_until_complete", loop.run_until_complete, task)
            log(task.done(), task.cancelled(), task.exception())
            background = loop.create_task(exits(error))
            log.attempt("run_forever", loop.run_forever)
            log(background.done(), background.exception())


def case_from_a_task_under_run(log: Log) -> None:
    async def bystander() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log("bystander cancelled")
            raise

    async def main(error: BaseException) -> None:
        task = asyncio.create_task(bystander())
        await asyncio.sleep(0)
        log(task.done())
        raise error

    for error in (KeyboardInterrupt("main"), SystemExit(5)):
        log.attempt("run", asyncio.run, main(error))


def case_from_a_protocol(log: Log) -> None:
    class Exits(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise SystemExit("from data_received")

    async def main(left: socket.socket) -> None:
        await asyncio.get_running_loop().create_connection(Exits, sock=left)
        await asyncio.sleep(100)

    left, right = socket.socketpair()
    right.send(b"x")
    log.attempt("run", asyncio.run, main(left))
    right.close()


def case_ctrl_c_while_working(log: Log) -> None:
    async def main() -> None:
        try:
            press_ctrl_c()
            log("still here")
            await asyncio.sleep(100)
        except asyncio.CancelledError as error:
            log("cancelled", error.args)
            raise

    log.attempt("run", asyncio.run, main())


def case_ctrl_c_while_idle(log: Log) -> None:
    async def main() -> None:
        press_when_idle(asyncio.get_running_loop())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            log("cancelled", asyncio.current_task().cancelling())

    log.attempt("run", asyncio.run, main())


def case_ctrl_c_while_idle_on_a_socket(log: Log) -> None:
    async def main() -> None:
        press_when_idle(asyncio.get_running_loop())
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        await server.serve_forever()

    log.attempt("run", asyncio.run, main())


def case_ctrl_c_is_swallowed(log: Log) -> None:
    async def main() -> str:
        try:
            press_ctrl_c()
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log("swallowed")
        return "finished"

    log.attempt("run", asyncio.run, main())


def case_ctrl_c_is_swallowed_and_uncancelled(log: Log) -> None:
    async def main() -> str:
        try:
            press_ctrl_c()
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log(asyncio.current_task().uncancel())
        return "finished"

    log.attempt("run", asyncio.run, main())


def case_ctrl_c_twice(log: Log) -> None:
    async def main() -> None:
        try:
            press_ctrl_c()
            await asyncio.sleep(100)
        finally:
            log("cleaning up")
            press_ctrl_c()
            await asyncio.sleep(100)
            log("not reached")

    log.attempt("run", asyncio.run, main())


def case_ctrl_c_without_a_runner(log: Log) -> None:
    with new_loop() as loop:
        loop.call_soon(press_ctrl_c)
        log.attempt("working", loop.run_forever)
        press_when_idle(loop)
        log.attempt("idle", loop.run_forever)
        turns(loop)
        log("the loop can go on")


def case_ctrl_c_with_an_own_handler(log: Log) -> None:
    def own(number: int, frame: Any) -> None:
        log("own handler", number == signal.SIGINT)

    signal.signal(signal.SIGINT, own)

    async def main() -> str:
        press_ctrl_c()
        await asyncio.sleep(0)
        return "undisturbed"

    log.attempt("run", asyncio.run, main())
    log(signal.getsignal(signal.SIGINT) is own)


def case_own_handler_while_idle(log: Log) -> None:
    """A Python-level handler runs although the loop sleeps in the kernel, and may wake it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(woken.set_result, "woken"))
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        log(await asyncio.wait_for(woken, 10))

    asyncio.run(main())


def case_handler_is_restored(log: Log) -> None:
    before = signal.getsignal(signal.SIGINT)

    async def main() -> None:
        log(signal.getsignal(signal.SIGINT) is before)

    asyncio.run(main())
    log(signal.getsignal(signal.SIGINT) is before)
    log(signal.set_wakeup_fd(-1))


def case_ctrl_c_in_a_runner_used_again(log: Log) -> None:
    async def interrupted() -> None:
        press_ctrl_c()
        await asyncio.sleep(100)

    async def fine() -> str:
        return "fine"

    with asyncio.Runner() as runner:
        log.attempt("first", runner.run, interrupted())
        log.attempt("second", runner.run, fine())


def case_loop_in_a_thread_leaves_signals_alone(log: Log) -> None:
    before = signal.getsignal(signal.SIGINT)

    async def main() -> None:
        log(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()
