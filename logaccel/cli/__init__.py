"""The command line: arguments, progress, exit codes. Everything else lives below, and loads on use."""

import sys
from typing import NoReturn

import typer

from logaccel.cli import run  # the order of imports is the order in which --help lists the commands

# isort: split
from logaccel.cli import map as mapping

# isort: split
from logaccel.cli import networks, traces

# isort: split
from logaccel.cli import weights

# isort: split
from logaccel.cli import archs, rtl

# isort: split
from logaccel.cli.app import app
from logaccel.cli.output import USER_ERROR
from logaccel.errors import INTERRUPTED, ConfigError, LogaccelError

COMMANDS = (
    run,
    mapping,
    networks,
    traces,
    weights,
    archs,
    rtl,
)  # each adds its commands to the app when it is imported
__all__ = ["COMMANDS", "app", "main"]


def main() -> NoReturn:
    """Run the command line; a user's mistake is one clear message and exit code 2, never a traceback."""
    try:
        _refuse_empty(sys.argv[1:])
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # the parser turns Ctrl-C into this code, without a word
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except LogaccelError as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted; no file is half-written", err=True)  # whole ones there may be: formats, a figure
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left: nothing to say, and nobody to say it to
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except MemoryError:
        _fail("not enough memory for this workload; a smaller --batch needs less")
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # wrong usage, worded by the parser
            error.show()
            sys.exit(error.exit_code)
        raise


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse an empty argument: none means anything, and an empty path would be the current folder."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, sign, value = argument.partition("=")
        if not argument or (option.startswith("--") and sign and not value):
            where = option or f"{before} ''".strip()
            raise ConfigError(f"{where}: must not be empty")


def _fail(message: str) -> NoReturn:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    sys.exit(USER_ERROR)
