"""The command `tulipa`: `run` a program on Tulipa, `info` about this installation.

Entered by the console script and by `python -m tulipa`. It only reads the command line: programs are run by
`_program`, facts gathered by `_info`. Mistakes of the user are one line on stderr and an exit code other than 0.
"""

import json
import sys
from typing import Any, NoReturn

import click

from . import __version__, install
from ._info import describe
from ._program import LaunchError, Program, execute

_USAGE_ERROR = 2


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tulipa")
@click.pass_context
def tulipa(context: click.Context) -> None:
    """Tulipa: all of Python's asyncio, rebuilt in Rust."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(_USAGE_ERROR)


@tulipa.command(context_settings={"allow_interspersed_args": False})
@click.option("-m", "as_module", is_flag=True, help="TARGET is a module's name, as in python -m.")
@click.option("--loop-only", is_flag=True, help="Replace the event loop alone, and no other name of asyncio.")
@click.argument("target")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(as_module: bool, loop_only: bool, target: str, arguments: tuple[str, ...]) -> tuple[Program, bool]:
    """Run an unmodified program with asyncio's loop, classes and functions replaced by Tulipa's.

    TARGET is a script, a folder or zip file with a __main__, or with -m a module. Options for tulipa end
    there: everything after TARGET is the program's.
    """
    return Program(target, arguments, as_module), loop_only


@tulipa.command()
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def info(as_json: bool) -> None:
    """Show the versions and features of this installation."""
    facts = describe()
    click.echo(json.dumps(facts, indent=2) if as_json else _as_text(facts))


def main() -> None:
    """Read the command line and do what it says."""
    program, loop_only = _read_command_line()
    # Run outside click, which would turn the program's Ctrl-C and broken pipes into messages of its own.
    install(loop_only=loop_only)
    try:
        execute(program)
    except LaunchError as error:
        _fail(str(error), error.code)


def _read_command_line() -> tuple[Program, bool]:
    """Return the program to run and whether on the loop only, or exit when the command was another one or wrong."""
    try:
        outcome = tulipa.main(prog_name="tulipa", standalone_mode=False)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "tulipa"
        _fail(f"{error.format_message()} Try '{command} --help'.", error.exit_code)
    if isinstance(outcome, tuple):
        return outcome
    sys.exit(outcome)  # None after info, and the code of --help, --version and the bare command


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"tulipa: {message}", err=True)
    sys.exit(code)


def _as_text(facts: dict[str, Any]) -> str:
    """Lay the facts out in two columns, one line each, the features last."""
    rows = {name: value for name, value in facts.items() if name != "features"} | facts["features"]
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {_word(value)}" for name, value in rows.items())


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
