"""Runs somebody's program as `python TARGET` would, in this very process.

Called by the command line, last thing before the process ends: it takes over `__main__`, `sys.argv` and `sys.path[0]`
and does not give them back. The interpreter itself then deals with what the program raises, so exit codes, Ctrl-C and
tracebacks come out as they do under `python`. It knows nothing of event loops.
"""

import builtins
import codecs
import io
import os
import pkgutil
import re
import runpy
import sys
from importlib.abc import FileLoader
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any, NamedTuple


class Program(NamedTuple):
    """What `python [-m] TARGET ARGUMENTS...` names."""

    target: str
    arguments: tuple[str, ...] = ()
    as_module: bool = False


class LaunchError(Exception):
    """The program cannot even start; `code` is the exit code that `python` has for it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def execute(program: Program) -> None:
    """Run the program as `__main__`.

    Raises LaunchError when there is no such file, and otherwise whatever the program raises, SystemExit included.
    """
    main = _replace_main_module()
    sys.argv[:] = [program.target, *program.arguments]
    try:
        if program.as_module:
            sys.argv[0] = "-m"  # what python shows while it looks for the module
            _set_first_path(os.getcwd())
            runpy._run_module_as_main(program.target)  # type: ignore[attr-defined]
        elif pkgutil.get_importer(program.target) is not None:  # a folder or a zip file
            path = _absolute(program.target)
            _search_first(path)
            _require_main_module(path)
            runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
        else:
            _run_script(program.target, main)
    except LaunchError:
        raise
    except BaseException:
        _hide_launcher_frames()
        raise


def _replace_main_module() -> ModuleType:
    """Put an empty `__main__` in place of the launcher's own, with the names this Python gives every `__main__`.

    Pickle, multiprocessing and `import __main__` find the program there, and none of ours.
    """
    launcher = sys.modules["__main__"]
    _kept.append(launcher)
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    for name, value in (("__annotations__", {}), ("__cached__", None)):  # gone in 3.14 and 3.15
        if name in launcher.__dict__:
            main.__dict__[name] = value
    sys.modules["__main__"] = main
    return main


# The launcher's own `__main__`: CPython goes on to use its namespace when the program is over, and holds it no longer.
_kept: list[ModuleType] = []


def _set_first_path(path: str) -> None:
    """Replace the launcher's folder by the program's; under `-P` Python prepends neither."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _search_first(path: str) -> None:
    """Have the program's own folder or zip file searched first, which `-P` does not forbid."""
    if sys.flags.safe_path:
        sys.path.insert(0, path)
    else:
        _set_first_path(path)


def _require_main_module(path: str) -> None:
    """Raise LaunchError unless the folder or zip file can be run."""
    importer: Any = pkgutil.get_importer(path)
    if importer.find_spec("__main__") is None:
        raise LaunchError(f"can't find '__main__' module in {path!r}", 1)


def _absolute(target: str) -> str:
    """Return the path as `python` makes it absolute: nothing in it is made simpler."""
    if target in ("", "."):
        return os.getcwd()
    return target if os.path.isabs(target) else f"{os.getcwd()}/{target}"


def _run_script(target: str, main: ModuleType) -> None:
    path = _absolute(target)
    code, loader = _read_code(path)
    _set_first_path(os.path.dirname(os.path.realpath(path)))  # a link counts as where it leads
    main.__file__ = path
    main.__dict__["__loader__"] = loader("__main__", path)
    exec(code, main.__dict__)


def _read_code(path: str) -> tuple[CodeType, type[FileLoader]]:
    """Return the code of a compiled or a source file, and what loads such; syntax errors come out as Python's own."""
    try:
        with io.open_code(path) as file:
            source = file.read()  # once: what a pipe has given is gone
    except OSError as error:
        raise LaunchError(f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}", 2) from None
    code: CodeType | None = pkgutil.read_code(io.BytesIO(source))
    if code is not None:
        return code, SourcelessFileLoader
    _check_encoding(source, path)
    return compile(source, path, "exec", dont_inherit=True), SourceFileLoader


def _check_encoding(source: bytes, path: str) -> None:
    """Raise SyntaxError for what is not UTF-8 and does not say so; compile() says less of that, or nothing."""
    try:
        source.decode()
        return
    except UnicodeDecodeError as error:
        first_wrong = error.start
    if source.startswith(codecs.BOM_UTF8) or _DECLARATION.match(source):
        return
    *before, beginning = source[: first_wrong + 1].splitlines()
    number = len(before) + 1
    message = (
        f"Non-UTF-8 code starting with '\\x{source[first_wrong]:02x}' in file {path} on line {number}, "
        "but no encoding declared; see https://peps.python.org/pep-0263/ for details"
    )
    if sys.version_info < (3, 14):
        raise SyntaxError(message)
    line = source.splitlines()[number - 1].decode(errors="replace")
    column = len(beginning.decode(errors="replace"))
    raise SyntaxError(message, (path, number, column, line, number, column))


# Of an encoding: a comment in the first line, or in the second if the first has no code.
_DECLARATION = re.compile(
    rb"([ \t\f]*(#[^\r\n]*)?(\r\n?|\n))?[ \t\f]*#[^\r\n]*?coding[:=][ \t]*[-\w.]", re.ASCII
)


def _hide_launcher_frames() -> None:
    """Make the report of an uncaught exception begin where the program does.

    Done in the hook, the last thing before it is printed: until then the exception has yet to pass through the
    launcher's frames. The hook that the program may have set is kept.
    """
    report = getattr(sys, "excepthook", _report_without_hook)

    def trimmed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        trace = _program_part(trace)
        sys.last_traceback = trace  # for debuggers and exit handlers
        try:
            report(kind, error.with_traceback(trace), trace)
        except BaseException as failure:
            # What is raised again, as here, leaves this frame without another entry for it.
            if failure.__traceback__ is not None:
                failure.__traceback__ = failure.__traceback__.tb_next
            raise

    sys.excepthook = trimmed


def _report_without_hook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Do what the interpreter does for a program that has deleted the hook."""
    print("sys.excepthook is missing", file=sys.stderr)
    sys.__excepthook__(kind, error, trace)


def _program_part(trace: TracebackType | None) -> TracebackType | None:
    """Drop everything up to this file's frames, and those."""
    while trace is not None and not _is_here(trace):
        trace = trace.tb_next
    while trace is not None and _is_here(trace):
        trace = trace.tb_next
    return trace


def _is_here(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename == __file__
