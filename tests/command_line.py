"""The command line for tests: in this process, which has everything loaded, or in a process of its own."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from logaccel.cli import main

ENVIRONMENT = {"COLUMNS": "120"}
Done = subprocess.CompletedProcess[str]


def run(*arguments: object, cwd: Path | None = None) -> Done:
    """Run `logaccel …` here: exit code and what was written, as a process of its own would leave them."""
    command, out, err = ["logaccel", *map(str, arguments)], io.StringIO(), io.StringIO()
    code: object = None
    with (
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ, ENVIRONMENT),
        contextlib.chdir(cwd or "."),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int)
    return Done(command, code, out.getvalue(), err.getvalue())


def run_alone(*arguments: object, cwd: Path | None = None) -> Done:
    """Run `python -m logaccel …`, warnings being errors."""
    return subprocess.run(
        [sys.executable, "-m", "logaccel", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | ENVIRONMENT | {"PYTHONWARNINGS": "error"},
        timeout=300,
    )


def refused(*arguments: object, cwd: Path | None = None) -> str:
    """Return what is said to a command that must be refused: exit code 2, nothing on stdout, no traceback."""
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr and done.stdout == ""
    return done.stderr
