"""`tulipa.install()`, `uninstall()`, `run()` and the policy: who gets which loop, Future and Task, and when.

The names imported from asyncio right below are bound before anything is installed, as a library's would be.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.unix_events
import pickle
import selectors
import subprocess
import sys
import types
import unittest
import warnings
from asyncio import Future as EarlyFuture
from asyncio import Runner, SelectorEventLoop, create_task, gather, new_event_loop
from asyncio import Task as EarlyTask
from asyncio import run as early_run
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tulipa

SUBMODULES = ("base_events", "events", "futures", "runners", "tasks", "unix_events")

with_policies = pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies are gone from Python 3.16")


@pytest.fixture
def installed() -> Iterator[None]:
    tulipa.install()
    try:
        yield
    finally:
        tulipa.uninstall()


@pytest.fixture
def own_policy() -> Iterator[Callable[[object], None]]:
    """Sets a policy for the test, and takes it back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield asyncio.set_event_loop_policy
        asyncio.set_event_loop_policy(None)


def contents() -> dict[str, Any]:
    """Every name of asyncio and of what install() touches, and its value."""
    asyncio.new_event_loop().close()  # makes the default policy, if this is the first loop
    # Until 3.13 the first native task puts the register that all_tasks() reads in place, installed or not.
    tulipa.run(asyncio.sleep(0))
    modules: dict[str, Any] = {"asyncio": asyncio} | {name: getattr(asyncio, name) for name in SUBMODULES}
    policy: Any = vars(asyncio.unix_events)["_UnixDefaultEventLoopPolicy"]
    return {
        f"{owner}.{name}": value for owner, module in modules.items() for name, value in vars(module).items()
    } | {"policy._loop_factory": policy._loop_factory}


async def kinds() -> tuple[type, type, type]:
    """The classes of the running loop, of its futures and of its tasks."""
    loop = asyncio.get_running_loop()
    task = create_task(asyncio.sleep(0))
    await task
    return type(loop), type(loop.create_future()), type(task)


TULIPAS = (tulipa.EventLoop, tulipa.Future, tulipa.Task)


def test_import_changes_nothing_in_asyncio() -> None:
    program = (
        "import sys, asyncio, asyncio.unix_events as unix_events\n"
        "modules = [m for n, m in sorted(sys.modules.items()) if n.split('.')[0] in ('asyncio', '_asyncio')]\n"
        "policy = unix_events._UnixDefaultEventLoopPolicy\n"
        "state = lambda: [dict(vars(m)) for m in modules] + [dict(vars(policy))]\n"
        "before = state()\n"
        "import tulipa\n"
        "assert state() == before\n"
        "assert 'click' not in sys.modules and 'rich' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_uninstall_restores_every_name() -> None:
    before = contents()
    tulipa.install()
    changed = {name for name, value in contents().items() if before[name] is not value}
    tulipa.uninstall()
    assert {
        "asyncio.Future",
        "futures.Future",
        "asyncio.Task",
        "tasks.Task",
        "asyncio.SelectorEventLoop",
        "unix_events.SelectorEventLoop",
        "policy._loop_factory",
    } <= changed
    assert contents() == before


def test_install_and_uninstall_can_be_repeated() -> None:
    before = contents()
    for _ in range(2):
        tulipa.install()
        tulipa.install()
        assert asyncio.run(kinds()) == TULIPAS
        tulipa.uninstall()
        tulipa.uninstall()
        assert contents() == before
    assert asyncio.run(kinds())[0] is SelectorEventLoop


@pytest.mark.usefixtures("installed")
class TestInstalled:
    def test_names_are_tulipas(self) -> None:
        assert asyncio.Future is asyncio.futures.Future is tulipa.Future
        assert asyncio.Task is asyncio.tasks.Task is tulipa.Task
        assert asyncio.SelectorEventLoop is asyncio.unix_events.SelectorEventLoop is tulipa.EventLoop
        if sys.version_info >= (3, 13):
            assert asyncio.EventLoop is asyncio.unix_events.EventLoop is tulipa.EventLoop

    @pytest.mark.parametrize("name", ["Future", "Task", "Lock", "Queue", "TaskGroup", "StreamReader"])
    def test_classes_say_where_they_are_from(self, name: str) -> None:
        kind = getattr(asyncio, name)
        assert repr(kind) == f"<class 'tulipa._tulipa.{name}'>"
        assert pickle.loads(pickle.dumps(kind)) is kind

    @pytest.mark.parametrize("runner", [asyncio.run, early_run, tulipa.run], ids=["late", "early", "tulipa"])
    def test_run(self, runner: Callable[[Any], Any]) -> None:
        assert runner(kinds()) == TULIPAS

    def test_runner(self) -> None:
        with Runner() as runner:
            assert runner.run(kinds()) == TULIPAS

    @pytest.mark.parametrize("make", [asyncio.new_event_loop, new_event_loop], ids=["late", "early"])
    def test_new_event_loop(self, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        loop = make()
        try:
            assert loop.run_until_complete(kinds()) == TULIPAS
        finally:
            loop.close()

    @pytest.mark.skipif(
        sys.version_info >= (3, 14), reason="get_event_loop() makes no loop since Python 3.14"
    )
    def test_get_event_loop(self, own_policy: Callable[[object], None]) -> None:
        own_policy(None)
        loop = asyncio.get_event_loop()
        assert type(loop) is tulipa.EventLoop
        loop.close()

    @with_policies
    def test_default_policy_and_its_subclasses(self, own_policy: Callable[[object], None]) -> None:
        class Policy(asyncio.DefaultEventLoopPolicy):  # type: ignore[misc, name-defined, unused-ignore]
            pass

        own_policy(Policy())
        assert asyncio.run(kinds()) == TULIPAS

    def test_isolated_asyncio_test_case(self) -> None:
        class Case(unittest.IsolatedAsyncioTestCase):
            async def test_kinds(self) -> None:
                assert await kinds() == TULIPAS

        result = unittest.TestResult()
        Case("test_kinds").run(result)
        assert (result.testsRun, result.failures, result.errors) == (1, [], [])

    def test_selector_loop_named_late_is_tulipas(self) -> None:
        with Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            assert runner.run(kinds()) == TULIPAS

    def test_selector_loop_takes_a_selector_and_leaves_it_alone(self) -> None:
        selector = selectors.DefaultSelector()
        loop = asyncio.SelectorEventLoop(selector)
        try:
            assert loop.run_until_complete(kinds()) == TULIPAS
        finally:
            loop.close()
        assert selector.get_map() == {}, "neither used nor closed"
        selector.close()

    def test_selector_loop_bound_early_stays_stock(self) -> None:
        with Runner(loop_factory=SelectorEventLoop) as runner:
            assert runner.run(kinds())[0] is SelectorEventLoop

    def test_stock_objects_are_still_futures_and_tasks(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            future: EarlyFuture[int] = EarlyFuture(loop=loop)
            task = EarlyTask(asyncio.sleep(0, 2), loop=loop)
            for thing in (future, task, loop.create_future(), create_task(asyncio.sleep(0))):
                assert asyncio.isfuture(thing)
                assert isinstance(thing, asyncio.Future)
                assert isinstance(thing, EarlyFuture)
            assert isinstance(task, asyncio.Task)
            assert not isinstance(future, asyncio.Task)
            assert issubclass(EarlyFuture, asyncio.Future)
            assert issubclass(EarlyTask, asyncio.Task)
            assert not issubclass(EarlyFuture, asyncio.Task)
            loop.call_soon(future.set_result, 1)
            assert await gather(future, task) == [1, 2]

        asyncio.run(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
    def test_eager_task_factory(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            started = []

            async def child() -> None:
                started.append(True)

            task = loop.create_task(child())
            assert started
            assert type(task) is tulipa.Task
            await task

        asyncio.run(main())
        factory: Any = asyncio.eager_task_factory
        stock: Any = asyncio.create_eager_task_factory(EarlyTask)
        assert factory is asyncio.tasks.eager_task_factory
        assert factory.__code__ is stock.__code__  # how libraries recognise it


@with_policies
def test_policy_set_before_install_gives_way_and_comes_back(own_policy: Callable[[object], None]) -> None:
    default: Any = vars(asyncio.unix_events)["_UnixDefaultEventLoopPolicy"]

    class Policy(default):  # type: ignore[misc]
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return SelectorEventLoop()

    own_policy(Policy())
    assert asyncio.run(kinds())[0] is SelectorEventLoop
    tulipa.install()
    assert asyncio.run(kinds()) == TULIPAS
    tulipa.uninstall()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert type(asyncio.get_event_loop_policy()) is Policy


def test_run_makes_and_closes_a_tulipa_loop() -> None:
    loops = []

    async def main() -> str:
        loops.append(asyncio.get_running_loop())
        return "result"

    assert tulipa.run(main()) == "result"
    assert type(loops[0]) is tulipa.EventLoop
    assert loops[0].is_closed()


@with_policies
def test_run_sets_and_resets_the_current_loop_as_asyncio_does() -> None:
    def current() -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                return (
                    "running" if asyncio.get_event_loop_policy().get_event_loop() is running[-1] else "other"
                )
            except RuntimeError as error:
                return str(error)

    async def main() -> str:
        running.append(asyncio.get_running_loop())
        return current()

    running: list[asyncio.AbstractEventLoop] = []
    seen = [(runner(main()), current()) for runner in (asyncio.run, tulipa.run)]
    assert seen[0] == seen[1]
    assert seen[0][0] == "running"


def test_run_passes_debug_and_loop_factory_on() -> None:
    async def debug() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert tulipa.run(debug(), debug=True) is True
    assert tulipa.run(debug(), debug=False) is False
    assert tulipa.run(kinds(), loop_factory=SelectorEventLoop)[0] is SelectorEventLoop


def test_run_cancels_what_is_left() -> None:
    ended = []

    async def leftover() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("task")

    async def generator() -> Any:
        try:
            yield
        finally:
            ended.append("generator")

    generators = []
    tasks = []

    async def main() -> None:
        generators.append(generator())
        await generators[0].asend(None)
        tasks.append(create_task(leftover()))
        await asyncio.sleep(0)

    tulipa.run(main())
    assert ended == ["task", "generator"]


@types.coroutine
def nothing() -> Any:
    yield


@pytest.mark.parametrize("wrong", [None, 1, "text", lambda: None, nothing], ids=repr)
def test_run_refuses_what_asyncio_run_refuses(wrong: Any) -> None:
    complaints = []
    for runner in (asyncio.run, tulipa.run):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever asyncio raises
            runner(wrong)
        complaints.append((caught.type, str(caught.value)))
    assert complaints[0] == complaints[1]


def test_run_inside_a_running_loop_is_refused_as_by_asyncio() -> None:
    async def main(runner: Callable[[Any], Any]) -> str:
        inner = asyncio.sleep(0)
        with pytest.raises(RuntimeError) as caught:
            runner(inner)
        inner.close()
        return str(caught.value)

    assert tulipa.run(main(tulipa.run)) == asyncio.run(main(asyncio.run))


def test_new_event_loop_is_not_made_current() -> None:
    loop = tulipa.new_event_loop()
    try:
        assert type(loop) is tulipa.EventLoop
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
    finally:
        loop.close()


@with_policies
def test_event_loop_policy(own_policy: Callable[[object], None]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        policy = tulipa.EventLoopPolicy
    expected = ["'tulipa.EventLoopPolicy' is deprecated and slated for removal in Python 3.16"]
    assert [str(warning.message) for warning in caught] == (expected if sys.version_info >= (3, 14) else [])
    own_policy(policy())
    assert asyncio.run(kinds()) == TULIPAS
    tulipa.install()  # agrees with the policy, which therefore stays
    assert type(asyncio.get_event_loop_policy()) is policy
    tulipa.uninstall()


def test_public_names() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names: dict[str, Any] = {}
        exec("from tulipa import *", names)
    assert set(tulipa.__all__) <= set(names)
    assert ("EventLoopPolicy" in tulipa.__all__) == (sys.version_info < (3, 14))
    with pytest.raises(AttributeError, match=r"^module 'tulipa' has no attribute 'nonsense'$"):
        tulipa.nonsense  # noqa: B018
