"""`logaccel map`: how a network's layers are tiled, and why."""

from pathlib import Path
from typing import Annotated

import typer

from logaccel.cli.app import app
from logaccel.cli.inputs import is_graph, load_architectures, load_workload
from logaccel.cli.options import SetOption
from logaccel.cli.output import check_apart, check_folder


@app.command("map")
def map_command(
    workload: Annotated[str, typer.Argument(help="network (shipped name, YAML, SCALE-Sim CSV, ONNX) or trace (.npz)")],
    arch: Annotated[
        str, typer.Option("--arch", "-a", help="architecture with a memory: a shipped name or a YAML file")
    ],
    layer: Annotated[str | None, typer.Option("--layer", "-l", help="one layer; default: all")] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", "-b", min=1, help="images of a network; a trace has its own batch")
    ] = None,
    settings: SetOption = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="write the mappings as JSON as well")
    ] = None,
) -> None:
    """Show the loop nest of every layer: what lives where, what moves, and which mapping came second and why."""
    from logaccel.mapping import map_network

    if json_file is not None:
        check_folder(json_file)
        check_apart([json_file], (workload, arch))
    is_trace = workload.endswith(".npz")
    loaded = load_workload(Path(workload) if is_trace else None, None if is_trace else workload, batch)
    images = batch if is_graph(workload) else None
    mapping = map_network(loaded, load_architectures([arch], settings)[0], layer, images)
    if json_file is not None:
        mapping.to_json(json_file)
    typer.echo(mapping.summary())
