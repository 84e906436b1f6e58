"""The command `tulipa`: a program run by it behaves as under `python`, and mistakes are one clear line.

Most tests run one program both ways and compare all that can be seen from outside: output, errors, exit code.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tulipa

COMMAND = str(Path(sys.executable).with_name("tulipa"))
PYTHON = [sys.executable]
TULIPA_RUN = [COMMAND, "run"]

# Each shows one thing that a launcher can get wrong.
PROGRAMS = {
    "namespace": "print(sorted(globals()), __name__, __file__, __package__, getattr(__spec__, 'name', None), "
    "type(__loader__).__name__)",
    "arguments": "import sys; print(sys.argv)",
    "search path": "import sys; print(sys.path)",
    "neighbour": "import neighbour; print(neighbour.__file__)",
    "main module": "import sys; print(vars(sys.modules['__main__']) is globals(), __builtins__)",
    "future import": "from __future__ import annotations\ndef f(x: nothing): pass\nprint(f.__annotations__)",
    "no inherited future import": "def f(x: int): pass\nprint(f.__annotations__)",
    "pickle": "import pickle\nclass C: pass\nprint(type(pickle.loads(pickle.dumps(C()))) is C)",
    "exit code": "import sys; sys.exit(3)",
    "exit message": "import sys; sys.exit('bye')",
    "exit none": "raise SystemExit",
    "exception": "def f():\n    1 / 0\nf()",
    "chained exception": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise KeyError('k')",
    "exception in coroutine": "import asyncio\nasync def main(): raise ValueError('v')\nasyncio.run(main())",
    "syntax error": "def f(:",
    "excepthook": "import sys\nsys.excepthook = lambda *e: print('hook', e[0], e[2].tb_lineno)\n\nraise ValueError",
    "no excepthook": "import sys\ndel sys.excepthook\nraise ValueError",
    "excepthook that cannot be called": "import sys\nsys.excepthook = None\nraise ValueError",
    "excepthook that fails": "import sys\ndef hook(*error): 1 / 0\nsys.excepthook = hook\nraise ValueError",
    "last traceback": "import atexit, sys, traceback\n"
    "atexit.register(lambda: traceback.print_tb(sys.last_traceback))\ndef f(): 1 / 0\nf()",
    "broken pipe": "raise BrokenPipeError(32, 'Broken pipe')",
    "exit handler": "import atexit; atexit.register(print, 'last')",
    "thread outliving main": "import threading; threading.Thread(target=lambda: print('thread')).start()",
    "warning": "import warnings; warnings.warn('old', DeprecationWarning)",
    "utf-8": "print(ascii('\u00e9'))",
    "declared encoding": b"# coding: latin-1\nprint(ascii('\xe9'))",
    "encoding declared in the second line": b"#!shell\n# coding: latin-1\nprint(ascii('\xe9'))",
    "not utf-8": b"print('caf\xe9')",
    "not utf-8 in a comment": b"print(1)\n\n# caf\xe9\n",
}


def run(*command: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def assert_same(folder: Path, *target: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the target under `python` and under `tulipa run`; return the latter, having compared it."""
    expected = run(*PYTHON, *target, cwd=folder, **variables)
    actual = run(*TULIPA_RUN, *target, cwd=folder, **variables)
    # The loop is another one, so a traceback through it has other frames: the program's own are compared.
    if "asyncio/runners.py" in expected.stderr:
        expected.stderr, actual.stderr = (text.splitlines()[-1] for text in (expected.stderr, actual.stderr))
    seen = (actual.stdout, actual.stderr, actual.returncode)
    assert seen == (expected.stdout, expected.stderr, expected.returncode)
    return actual


@pytest.mark.parametrize("name", PROGRAMS)
def test_script_runs_as_under_python(name: str, tmp_path: Path) -> None:
    source = PROGRAMS[name]
    (tmp_path / "program.py").write_bytes(source.encode() if isinstance(source, str) else source)
    (tmp_path / "neighbour.py").touch()
    assert_same(tmp_path, "program.py")


def test_options_after_the_target_are_the_programs(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; print(sys.argv)")
    done = assert_same(tmp_path, "program.py", "--help", "-m", "--", "--version", "x")
    assert "'--help', '-m', '--', '--version', 'x'" in done.stdout


@pytest.mark.parametrize("name", ["namespace", "arguments", "search path", "exception", "exit code"])
def test_module_package_folder_and_zip_run_as_under_python(name: str, tmp_path: Path) -> None:
    source = PROGRAMS[name]
    assert isinstance(source, str)
    package = tmp_path / "package"
    package.mkdir()
    (tmp_path / "module.py").write_text(source)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(source)
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", source)
    assert_same(tmp_path, "-m", "module", "-x", "y")
    assert_same(tmp_path, "-m", "package", "-x", "y")
    assert_same(tmp_path, "package", "-x", "y")
    assert_same(tmp_path, "program.zip", "-x", "y")


def test_safe_path_keeps_out_all_but_the_program_itself(tmp_path: Path) -> None:
    source = "import sys; print(__file__, sys.path)"
    for name in ("folder", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(source)
    (tmp_path / "program.py").write_text(source)
    (tmp_path / "elsewhere" / "module.py").write_text(source)
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", source)
    path = os.pathsep.join(filter(None, [str(tmp_path / "elsewhere"), os.environ.get("PYTHONPATH")]))
    for target in (["folder"], ["program.zip"], ["program.py"], ["-m", "module"]):
        done = assert_same(tmp_path, *target, PYTHONSAFEPATH="1", PYTHONPATH=path)
        assert done.returncode == 0


def test_asyncios_prompt_runs_as_under_python(tmp_path: Path) -> None:
    assert "exiting asyncio REPL..." in assert_same(tmp_path, "-m", "asyncio").stderr


@pytest.mark.parametrize(
    "target", ["./program.py", "folder/../program.py", "./folder", "folder//", "folder/."]
)
def test_the_path_of_a_program_is_what_python_makes_of_it(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "program.py", folder / "__main__.py"):
        path.write_text("import sys; print(sys.argv, __file__, sys.path[0])")
    assert_same(tmp_path, target)


def test_linked_and_compiled_scripts_run_as_under_python(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "program.py").write_text(
        "import sys; print(sys.argv, sys.path[0], __file__, type(__loader__))"
    )
    (tmp_path / "link.py").symlink_to(elsewhere / "program.py")
    assert_same(tmp_path, "link.py")
    run(*PYTHON, "-m", "compileall", "-b", "elsewhere", cwd=tmp_path)
    assert_same(tmp_path, "elsewhere/program.pyc")


def test_script_is_read_from_a_pipe() -> None:
    expected, actual = (
        subprocess.run(
            [*launcher, "/dev/stdin"],
            input="import sys; print(sys.argv, __file__, type(__loader__).__name__)",
            capture_output=True,
            text=True,
            timeout=120,
        )
        for launcher in (PYTHON, TULIPA_RUN)
    )
    seen = (actual.stdout, actual.stderr, actual.returncode)
    assert seen == (expected.stdout, expected.stderr, 0)


def test_multiprocessing_children_find_the_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import multiprocessing\n"
        "class Value:\n"
        "    def __init__(self, number): self.number = number\n"
        "def double(value): return Value(value.number * 2)\n"
        "if __name__ == '__main__':\n"
        "    for method in multiprocessing.get_all_start_methods():\n"
        "        with multiprocessing.get_context(method).Pool(1) as pool:\n"
        "            print(method, [value.number for value in pool.map(double, [Value(1), Value(2)])])\n"
    )
    for target in (["program.py"], ["-m", "program"]):
        done = assert_same(tmp_path, *target)
        assert done.returncode == 0
        assert "spawn [2, 4]" in done.stdout


def test_program_gets_tulipas_loop_future_and_task(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import asyncio\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    print(type(loop) is __import__('tulipa').EventLoop)\n"
        "    for thing in (loop.create_future(), asyncio.current_task(), asyncio.Future()):\n"
        "        print(type(thing).__module__.partition('.')[0])\n"
        "asyncio.run(main())\n"
    )
    done = run(*TULIPA_RUN, "program.py", cwd=tmp_path)
    assert (done.stdout.split(), done.stderr) == (["True", "tulipa", "tulipa", "tulipa"], "")


def test_interrupted_program_ends_as_under_python(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import asyncio\n"
        "async def main():\n"
        "    print('ready', flush=True)\n"
        "    try:\n"
        "        await asyncio.Event().wait()\n"
        "    finally:\n"
        "        print('cleaned up', flush=True)\n"
        "asyncio.run(main())\n"
    )
    for launcher in (PYTHON, TULIPA_RUN):
        command = [*launcher, str(tmp_path / "program.py")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            output, errors = communicate(process)
        assert output == "cleaned up\n"
        assert errors.endswith("KeyboardInterrupt\n")
        assert process.returncode == -signal.SIGINT  # which a shell shows as 130


def communicate(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what it says until it ends; one that does not end is killed, and fails the test."""
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


def test_python_m_tulipa_is_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; print(sys.argv, sys.path, sorted(globals()))")
    by_module = run(*PYTHON, "-m", "tulipa", "run", "program.py", "-x", cwd=tmp_path)
    by_script = run(*TULIPA_RUN, "program.py", "-x", cwd=tmp_path)
    assert (by_module.stdout, by_module.stderr, by_module.returncode) == (by_script.stdout, "", 0)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ["run", "missing.py"],
            2,
            "tulipa: can't open file '{}/missing.py': [Errno 2] No such file or directory",
        ),
        (["run", "empty"], 1, "tulipa: can't find '__main__' module in '{}/empty'"),
        (["run", "-m", "missing"], 1, f"{sys.executable}: No module named missing"),
        (
            ["run", "-m", "package"],
            1,
            f"{sys.executable}: No module named package.__main__; 'package' is a package",
        ),
        (["run"], 2, "tulipa: Missing argument 'TARGET'. Try 'tulipa run --help'."),
        (["run", "--nonsense", "x.py"], 2, "tulipa: No such option '--nonsense'"),
        (["nonsense"], 2, "tulipa: No such command 'nonsense'. Try 'tulipa --help'."),
    ],
)
def test_mistakes_are_one_clear_line(arguments: list[str], code: int, line: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    done = run(COMMAND, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    # Older click writes "option:" and "argument" a little differently; the words that matter are the same.
    assert done.stderr.replace("option: ", "option '").startswith(line.format(tmp_path.resolve())[:-1])


def test_unreadable_script_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "loop.py").symlink_to("loop.py")
    done = run(*TULIPA_RUN, "loop.py", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Too many levels of symbolic links" in done.stderr


def test_version() -> None:
    done = run(COMMAND, "--version")
    assert (done.stdout, done.returncode) == (f"tulipa, version {tulipa.__version__}\n", 0)


def test_bare_command_shows_the_help_and_fails() -> None:
    done = run(COMMAND)
    assert done.stdout.startswith("Usage: tulipa ")
    assert done.returncode == 2


def test_info_states_what_is_running() -> None:
    facts = json.loads(run(COMMAND, "info", "--json").stdout)
    assert facts["tulipa"] == tulipa.__version__
    assert facts["python"].endswith(platform.python_version())
    assert os.uname().release in facts["kernel"]
    assert facts["driver"] in ("epoll", "io_uring")
    assert facts["features"]["eager tasks"] == (sys.version_info >= (3, 12))
    text = run(COMMAND, "info").stdout.splitlines()
    names = [*facts, *facts["features"]]
    names.remove("features")
    assert [line.partition("  ")[0] for line in text] == names
