"""The loop as an object."""

import asyncio
from unittest import mock

import tulipa


def test_what_the_stock_loop_keeps_in_its_instances_leaves_the_dict_alone() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        loop.set_exception_handler(None)
        assert vars(loop) == {}

    tulipa.run(main())


def test_a_program_may_give_a_loop_attributes_and_replace_its_own() -> None:
    loop = tulipa.new_event_loop()
    try:
        loop.colour = "red"  # type: ignore[attr-defined]
        assert vars(loop) == {"colour": "red"}
        with mock.patch.object(loop, "_signal_handlers", "replaced"):
            assert loop._signal_handlers == "replaced"
        assert loop._signal_handlers == {}
        called = []
        loop.call_soon = lambda *arguments, **keywords: called.append(arguments)  # type: ignore[method-assign]
        loop.call_soon(print, 1)
        assert called == [(print, 1)]
    finally:
        loop.close()
