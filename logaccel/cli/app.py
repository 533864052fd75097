"""The command line as a tree of commands; each file beside this one adds its own."""

from typing import Annotated

import typer

from logaccel import __version__

app = typer.Typer(
    name="logaccel",
    help="Simulate log-domain CNN accelerators: bit-exact values, exact cycles, sourced energy and area.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
trace_app = typer.Typer(help="Make and inspect traces.", no_args_is_help=True)
arch_app = typer.Typer(help="Check and show architectures.", no_args_is_help=True)
app.add_typer(trace_app, name="trace")
app.add_typer(arch_app, name="arch")
rtl_app = typer.Typer(
    help="Export the accelerator as Verilog, and hold it against the simulator.", no_args_is_help=True
)
app.add_typer(rtl_app, name="rtl")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        typer.echo(f"logaccel {__version__}")
        raise typer.Exit
