"""`import tulipa as asyncio`: every public name is there, looks like asyncio's, and is native where Tulipa has it."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import copy
import functools
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import cloudpickle  # type: ignore[import-untyped]
import pytest

import tulipa
from tulipa._native import NATIVE, package_names

PUBLIC = sorted(asyncio.__all__)
SUBMODULES = sorted(
    name
    for _, name, _ in pkgutil.iter_modules(asyncio.__path__)
    if not name.startswith("windows") and f"asyncio.{name}" in sys.modules
)

# The loop's class is another one, and `run` takes a loop_factory on every Python.
OWN_SIGNATURES = {"SelectorEventLoop", "EventLoop"} | ({"run"} if sys.version_info < (3, 12) else set())


def native_functions() -> list[tuple[str, str]]:
    """(module, name) of every native function."""
    return [
        (module, name)
        for module in NATIVE
        for name, value in package_names(module).items()
        if type(value) is type(tulipa.gather)
    ]


def signature(thing: Any) -> object:
    """The parameters, without what their annotations say."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError) as error:
        return type(error)
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    assert name in tulipa.__all__
    assert hasattr(tulipa, name)


@pytest.mark.parametrize(
    "name", [name for name in PUBLIC if callable(getattr(asyncio, name)) and name not in OWN_SIGNATURES]
)
def test_signatures_are_asyncios(name: str) -> None:
    ours, stock = getattr(tulipa, name), getattr(asyncio, name)
    assert signature(ours) == signature(stock)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(stock)
    assert isinstance(ours, type) == isinstance(stock, type)
    assert ours.__name__ == stock.__name__
    if not isinstance(stock, type):
        assert ours.__doc__ == stock.__doc__ or ours.__module__.startswith("tulipa.")


@pytest.mark.parametrize(
    "name",
    [name for name in PUBLIC if isinstance(getattr(asyncio, name), type) and name not in OWN_SIGNATURES],
)
def test_coroutine_methods_are_coroutine_functions(name: str) -> None:
    ours, stock = getattr(tulipa, name), getattr(asyncio, name)
    for method in dir(stock):
        expected = inspect.getattr_static(stock, method)
        found = inspect.getattr_static(ours, method, None)
        # What asyncio's own methods call may be missing, and `async for` has a place of its own in classes.
        if inspect.iscoroutinefunction(expected) and found is not None and method != "__anext__":
            assert inspect.iscoroutinefunction(found), method
            assert signature(found) == signature(expected)
            assert found.__qualname__ == expected.__qualname__


def test_coroutine_methods_are_methods() -> None:
    queue: Any = tulipa.Queue()
    assert inspect.ismethod(queue.get)
    assert inspect.iscoroutinefunction(queue.get)
    assert pickle.loads(pickle.dumps(tulipa.Queue.get)) is tulipa.Queue.get
    for arguments in ((), (1,), (asyncio.Queue(),), (queue, 1)):
        with pytest.raises(TypeError):
            tulipa.Queue.get(*arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        queue.get(nonsense=1)


MISCOUNTED_CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("Lock", lambda asyncio: asyncio.Lock().release(1)),
    ("Event", lambda asyncio: asyncio.Event().set(1)),
    ("Queue", lambda asyncio: asyncio.Queue().get_nowait(1)),
    ("Future", lambda asyncio: asyncio.Future(loop=mock.Mock()).done(1)),
    ("wait_for", lambda asyncio: asyncio.wait_for(1)),
]


@pytest.mark.parametrize(("name", "call"), MISCOUNTED_CALLS, ids=[name for name, _ in MISCOUNTED_CALLS])
def test_a_wrong_number_of_arguments_is_a_type_error(name: str, call: Callable[[Any], Any]) -> None:
    for module in (asyncio, tulipa):
        with pytest.raises(TypeError, match="argument"):
            call(module)


def test_mock_makes_what_is_to_be_awaited() -> None:
    async def main() -> None:
        for make in (mock.Mock(spec=tulipa.StreamWriter), mock.create_autospec(tulipa.StreamWriter)):
            await make.wait_closed()
            await make.drain()
            assert make.write(b"") is not None

    tulipa.run(main())


@pytest.mark.parametrize("name", SUBMODULES)
def test_every_module_has_a_mirror(name: str) -> None:
    mirror, stock = importlib.import_module(f"tulipa.{name}"), importlib.import_module(f"asyncio.{name}")
    assert mirror is getattr(tulipa, name)
    assert isinstance(mirror, types.ModuleType)
    assert mirror.__name__ == f"tulipa.{name}"
    natives = package_names(name)
    for native, value in natives.items():
        assert getattr(mirror, native) is getattr(tulipa, native, value) is value
    for other in set(vars(stock)) - set(natives):
        if not other.startswith("__"):
            assert getattr(mirror, other) is getattr(stock, other)
    assert set(dir(stock)) <= set(dir(mirror))
    with pytest.raises(AttributeError, match=rf"^module 'tulipa\.{name}' has no attribute 'nonsense'$"):
        mirror.nonsense  # noqa: B018


def test_a_program_may_call_tulipa_asyncio() -> None:
    program = """
import tulipa as asyncio
import tulipa.subprocess
from tulipa.exceptions import CancelledError
from tulipa.tasks import *

assert asyncio.subprocess.PIPE == tulipa.subprocess.PIPE == -1
assert CancelledError is asyncio.CancelledError
assert gather is asyncio.gather

async def main():
    assert type(asyncio.get_running_loop()) is asyncio.EventLoop is asyncio.SelectorEventLoop
    return await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0, "b"))

assert asyncio.run(main()) == ["a", "b"]
with asyncio.Runner() as runner:
    assert runner.run(main()) == ["a", "b"]
"""
    program = program.replace("import tulipa.subprocess", "import tulipa, tulipa.subprocess")
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_wait_makes_tasks_of_coroutines() -> None:
    async def main() -> list[int]:
        done, pending = await tulipa.wait([asyncio.sleep(0, 1), asyncio.sleep(0, 2)])  # type: ignore[type-var]
        assert not pending
        assert {type(task) for task in done} == {tulipa.Task}
        return sorted(task.result() for task in done)

    assert tulipa.run(main()) == [1, 2]


def test_get_event_loop_is_tulipas() -> None:
    program = """
import warnings
import tulipa as asyncio
warnings.simplefilter("ignore", DeprecationWarning)
try:
    loop = asyncio.get_event_loop()
except RuntimeError as error:  # 3.14+
    assert "no current event loop" in str(error)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
assert type(loop) is asyncio.EventLoop
assert asyncio.get_event_loop() is loop
assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1
loop.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.fixture(params=native_functions(), ids=lambda found: found[1])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A native function and the stock one that it stands for."""
    module, name = request.param
    return package_names(module)[name], getattr(importlib.import_module(f"asyncio.{module}"), name)


class TestNativeFunctions:
    def test_show_what_the_stock_function_shows(self, pair: tuple[Any, Any]) -> None:
        ours, stock = pair
        assert ours is not stock
        assert ours.__name__ == stock.__name__
        assert ours.__qualname__ == stock.__qualname__
        assert ours.__doc__ == stock.__doc__
        assert ours.__module__ == "tulipa"
        assert repr(ours) == repr(stock).replace(f"{id(stock):#x}", f"{id(ours):#x}")

    def test_are_pickled_by_name(self, pair: tuple[Any, Any]) -> None:
        ours, _ = pair
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(ours, protocol)) is ours
        assert copy.deepcopy(ours) is ours

    def test_bind_like_functions(self, pair: tuple[Any, Any]) -> None:
        ours, _ = pair
        kind: Any = type("Kind", (), {"method": ours})
        instance = kind()
        assert kind.method is ours
        assert instance.method.__self__ is instance
        assert instance.method.__func__ is ours

    def test_are_python_functions_to_those_who_ask(self, pair: tuple[Any, Any]) -> None:
        ours, stock = pair
        assert isinstance(ours, types.FunctionType)
        assert inspect.isfunction(ours)
        assert not inspect.ismethoddescriptor(ours)
        assert inspect.getfile(ours) == inspect.getfile(stock)
        assert inspect.getsource(ours) == inspect.getsource(stock)
        assert inspect.getclosurevars(ours) == inspect.getclosurevars(stock)
        assert inspect.unwrap(ours) is ours
        assert typing.get_type_hints(ours) == typing.get_type_hints(stock)
        assert set(dir(ours)) >= set(dir(stock))
        assert cloudpickle.loads(cloudpickle.dumps(ours)) is ours

    def test_keep_attributes(self, pair: tuple[Any, Any]) -> None:
        ours, stock = pair
        ours.mark = 1
        assert ours.mark == vars(ours)["mark"] == 1
        assert not hasattr(stock, "mark")
        del ours.mark
        assert not hasattr(ours, "mark")
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            assert getattr(ours, name) == getattr(stock, name)
            with pytest.raises(AttributeError, match="not writable"):  # a difference: what would it change?
                setattr(ours, name, None)

    def test_are_replaced_by_mock_as_functions_are(self, pair: tuple[Any, Any]) -> None:
        seen = []
        for function in pair:
            replacement = mock.create_autospec(function)
            assert inspect.isfunction(replacement)
            with pytest.raises(TypeError) as caught:
                replacement(nonsense=1).send(None)  # where it is to be awaited, it complains then
            seen.append((replacement.__name__, inspect.iscoroutinefunction(replacement), str(caught.value)))
        assert seen[0] == seen[1]

    def test_can_be_weakly_referenced_wrapped_and_hashed(self, pair: tuple[Any, Any]) -> None:
        ours, stock = pair
        assert weakref.ref(ours)() is ours
        assert {ours: 1}[ours] == 1

        @functools.wraps(ours)
        def wrapper() -> None: ...

        assert wrapper.__name__ == stock.__name__

    @pytest.mark.filterwarnings("ignore:There is no current event loop")
    def test_complain_as_asyncio_does(self, pair: tuple[Any, Any]) -> None:
        ours, stock = pair
        for arguments, keywords in [
            ((), {}),
            ((1, 2, 3, 4, 5), {}),
            ((), {"nonsense": 1}),
            ((1,), {"nonsense": 1}),
        ]:
            complaints = []
            for function in pair:
                try:
                    answer = function(*arguments, **keywords)
                except Exception as error:
                    complaints.append((type(error), str(error)))
                else:
                    getattr(answer, "close", lambda: None)()
                    complaints.append((type(None), ""))
            assert complaints[0] == complaints[1], (arguments, keywords)
        assert stock is not ours


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_methods_of_futures_have_asyncios_signatures(name: str) -> None:
    ours, stock = getattr(tulipa, name), getattr(importlib.import_module("_asyncio"), name)
    for method in dir(stock):
        if not method.startswith("__") and callable(getattr(stock, method)):
            assert signature_text(getattr(ours, method)) == signature_text(getattr(stock, method)), method


def signature_text(function: Any) -> str | None:
    """Return how a function is called, as far as it tells."""
    try:
        return str(inspect.signature(function))
    except ValueError:
        return None


def test_what_steps_a_future_by_hand_catches_asyncios_exception() -> None:
    loop = tulipa.new_event_loop()
    future = loop.create_future()
    future.set_result((1, 2))
    with pytest.raises(StopIteration) as caught:
        future.__await__().send(None)
    assert type(caught.value) is StopIteration
    assert caught.value.value == (1, 2)
    assert pickle.loads(pickle.dumps(caught.value)).value == (1, 2)
    loop.close()


def test_refused_calls_outside_a_running_loop_keep_no_memory() -> None:
    loop: Any = tulipa.new_event_loop()

    def refused(count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(TypeError):
                loop.create_task(5)

    refused(1000)
    before = sys.getallocatedblocks()
    refused(1000)
    assert sys.getallocatedblocks() - before < 100
    loop.close()


def test_a_class_of_futures_has_no_other_metaclass_than_an_abstract_one() -> None:
    class Abstract(tulipa.Future, abc.ABC):  # type: ignore[type-arg]
        pass

    assert isinstance(Abstract, abc.ABCMeta)
    with pytest.raises(TypeError, match="metaclass conflict"):
        type("Checked", (tulipa.Future, typing.SupportsInt), {})
    checked = type(typing.SupportsInt)("Checked", (asyncio.futures._PyFuture, typing.SupportsInt), {})  # type: ignore[attr-defined]
    assert issubclass(checked, typing.SupportsInt)


@pytest.mark.parametrize("names", [("StreamReader", "StreamWriter"), ("Lock", "Event")])
def test_no_class_derives_from_two_native_ones(names: tuple[str, str]) -> None:
    ours, stock = ([getattr(module, name) for name in names] for module in (tulipa, stock_module(names[0])))
    assert type("Both", tuple(stock), {}).__mro__[1] is stock[0]
    with pytest.raises(TypeError, match="lay-out conflict"):
        type("Both", tuple(ours), {})


def stock_module(name: str) -> Any:
    """Return the module of asyncio that defines `name`."""
    return importlib.import_module("asyncio.streams" if name.startswith("Stream") else "asyncio.locks")
