"""`logaccel arch` and `logaccel schema`: architectures as files."""

import shutil
import sys
import textwrap
from typing import Annotated

import typer

from logaccel.cli.app import app, arch_app
from logaccel.cli.inputs import load_architectures
from logaccel.cli.options import JsonOption, SetOption
from logaccel.cli.output import print_json
from logaccel.errors import ConfigError, LogaccelError

NAME_WIDTH = 34


@arch_app.command("list")
def arch_list() -> None:
    """List the architectures that ship with logaccel."""
    from logaccel.arch import load_arch, shipped_architectures

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6  # a pipe gets a line for each
    for name in shipped_architectures():
        start, gap = f"{name:{NAME_WIDTH}} ", " " * (NAME_WIDTH + 1)
        typer.echo(textwrap.fill(load_arch(name).description, width, initial_indent=start, subsequent_indent=gap))


@arch_app.command("check")
def arch_check(files: Annotated[list[str], typer.Argument(help="architecture files or names")]) -> None:
    """Check architecture files; every problem of every file is reported at once."""
    from logaccel.arch import load_arch
    from logaccel.cost import load_profile

    faults = []
    for file in files:
        subject = ""  # the errors of an architecture name the file themselves
        try:
            arch = load_arch(file)
            subject = f"{file}: cost_profile: "
            load_profile(arch.cost_profile)
            typer.echo(f"{file}: ok")
        except LogaccelError as error:
            faults += [f"{subject}{line}" for line in str(error).splitlines()]
    if faults:
        raise ConfigError("\n".join(faults))


@arch_app.command("show")
def arch_show(
    arch: Annotated[str, typer.Argument(help="architecture file or name")],
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an architecture with all defaults filled in, as YAML that can be edited and run."""
    import yaml

    tree = load_architectures([arch], settings)[0].model_dump()
    if as_json:
        print_json(tree)
    else:
        typer.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of architecture files, for editors."""
    from logaccel.arch import json_schema

    print_json(json_schema())
