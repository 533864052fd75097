"""`logaccel trace`: make and inspect traces."""

from pathlib import Path
from typing import Annotated

import typer

from logaccel.cli.app import trace_app
from logaccel.cli.inputs import open_array
from logaccel.cli.options import JsonOption
from logaccel.cli.output import check_apart, check_folder, print_json, print_tables, progress


@trace_app.command("synth")
def trace_synth(
    network: Annotated[str, typer.Argument(help="network: a shipped name, a YAML file or a SCALE-Sim CSV")],
    output: Annotated[Path, typer.Option("--output", "-o", help="trace file to write (.npz)")],
    seed: Annotated[int, typer.Option(min=0, help="same seed, same bits")] = 0,
    batch: Annotated[int | None, typer.Option("--batch", "-b", min=1, help="images")] = None,
    zero_share: Annotated[float, typer.Option(min=0, max=1, help="share of zeros after a ReLU")] = 0.5,
) -> None:
    """Draw a trace of realistic statistics for the shapes of a network."""
    from logaccel.trace import save_trace, synthesize_trace
    from logaccel.workload import load_network

    check_folder(output)
    check_apart([output], [network])
    drawn = synthesize_trace(load_network(network, batch), seed=seed, zero_share=zero_share)
    save_trace(drawn, output)
    typer.echo(f"{output}: {drawn.name}, {len(drawn.layers)} layers, batch {drawn.batch}, seed {seed}")


@trace_app.command("info")
def trace_info(
    path: Annotated[Path | None, typer.Argument(help="trace file; default: the bundled one")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a trace holds: layers, shapes, zeros, ranges, source."""
    from logaccel.report.text import trace_renderables
    from logaccel.trace import load_trace

    trace = load_trace(path)
    if as_json:
        from logaccel.report.text import trace_dict

        print_json(trace_dict(trace))
    else:
        print_tables(trace_renderables(trace))


@trace_app.command("capture")
def trace_capture(
    model: Annotated[Path, typer.Argument(help="trained network (.onnx)")],
    images: Annotated[Path, typer.Argument(help="images (.npy), N first, normalised as the network expects")],
    output: Annotated[Path, typer.Option("--output", "-o", help="trace file to write (.npz)")],
    labels: Annotated[Path | None, typer.Option(help="classes (.npy), one an image")] = None,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="images in memory at a time")] = 16,
) -> None:
    """Record the tensors of every layer of a trained network on some images."""
    from tempfile import TemporaryDirectory

    from logaccel.evaluation.formats import check_image_array, check_images
    from logaccel.model.capture import capture_trace
    from logaccel.model.onnx_import import load_onnx
    from logaccel.trace import save_trace

    check_folder(output)
    check_apart([output], (model, images, labels))
    network, data = load_onnx(model), open_array(images)
    classes = None if labels is None else open_array(labels)
    check_image_array(data, network.graph.input_shape, str(images))
    for first in range(0, len(data), batch):
        check_images(data[first : first + batch], network.graph.input_shape, str(images), first)
    with TemporaryDirectory(dir=output.resolve().parent, prefix=f".{output.name}.") as folder, progress() as report:
        trace = capture_trace(
            network, data, classes, batch=batch, folder=Path(folder),
            progress=lambda done, total: report(done / total, f"{done} of {total} images"),
        )  # fmt: skip
        save_trace(trace, output)
    typer.echo(f"{output}: {trace.name}, {len(trace.layers)} layers, batch {trace.batch}")
