"""`logaccel evaluate` and `logaccel calibrate`: a trained network on the simulated machine, and in which formats."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from logaccel.cli.app import app
from logaccel.cli.inputs import load_architectures, open_array
from logaccel.cli.options import (
    DEFAULT_ARCH,
    FORMATS,
    OUTPUT,
    ActivationBitsOption,
    ArchOption,
    BackendOption,
    ChannelScalesOption,
    CorrectBiasOption,
    CsvOption,
    EngineOption,
    JsonOption,
    MethodOption,
    OutputOption,
    PercentileOption,
    SetOption,
    WeightBitsOption,
)
from logaccel.cli.output import calibrating, check_apart, check_folder, check_targets, emit, interruptible, progress
from logaccel.errors import ConfigError

CALIBRATION_IMAGES = 16

ModelArgument = Annotated[Path, typer.Argument(help="trained network (.onnx)")]


@app.command()
def evaluate(
    model: ModelArgument,
    images: Annotated[Path, typer.Argument(help="images (.npy), N first, normalised as in training")],
    labels: Annotated[Path | None, typer.Argument(help="classes (.npy), one an image")] = None,
    arch: ArchOption = DEFAULT_ARCH,
    settings: SetOption = None,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="images in memory at a time")] = 32,
    engine: EngineOption = "fold",
    backend: BackendOption = "blas",
    compare: Annotated[
        bool, typer.Option("--float/--no-float", help="run the float network beside it: agreement, signal to noise")
    ] = True,
    calibration: Annotated[
        Path | None,
        typer.Option(help="images (.npy) to calibrate on; default: the first 16", rich_help_panel=FORMATS),
    ] = None,
    method: MethodOption = "least_squares",
    percentile: PercentileOption = 99.99,
    channel_scales: ChannelScalesOption = "none",
    weight_bits: WeightBitsOption = None,
    activation_bits: ActivationBitsOption = None,
    correct_bias: CorrectBiasOption = False,
    formats: Annotated[
        Path | None,
        typer.Option(help="formats (.yaml) of an earlier run, instead of calibrating", rich_help_panel=FORMATS),
    ] = None,
    save_formats: Annotated[
        Path | None, typer.Option(help="write the formats (.yaml)", rich_help_panel=FORMATS)
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="file to go on from after an interruption", rich_help_panel=OUTPUT)
    ] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
) -> None:
    """Run a trained network on the simulated machine: accuracy, agreement, cycles and energy per image."""
    from logaccel import evaluation
    from logaccel.evaluation.evaluate import check_labels
    from logaccel.evaluation.formats import check_image_array, check_images
    from logaccel.evaluation.run import check_engine
    from logaccel.model.onnx_import import load_onnx
    from logaccel.report.evaluation import evaluation_csv, evaluation_renderables

    check_targets(as_json, as_csv, output, None)
    for path in (save_formats, state):
        if path is not None:
            check_folder(path)
    check_apart((output, save_formats, state), (model, images, labels, arch, calibration, formats))
    check_engine(engine, backend)
    accelerator, network, data = load_architectures([arch], settings)[0], load_onnx(model), open_array(images)
    shape, classes = network.graph.input_shape, None if labels is None else open_array(labels)
    check_image_array(data, shape, str(images))
    if classes is not None:
        check_labels(classes, len(data), network.graph)
    choices = method, percentile, channel_scales, weight_bits, activation_bits, correct_bias
    wanted = evaluation.Calibration(*choices)  # type: ignore[arg-type]
    if formats is not None:
        if wanted != evaluation.Calibration() or calibration is not None:
            raise ConfigError(f"--formats {formats}: holds what a calibration chose; leave out how to calibrate")
        chosen, origin = evaluation.load_formats(formats), f"{accelerator.name}, from {formats.name}"
    else:
        samples = data[:CALIBRATION_IMAGES] if calibration is None else open_array(calibration)
        samples = check_images(samples, shape, str(images if calibration is None else calibration))
        with calibrating():
            chosen = evaluation.calibrate(network, accelerator, samples, wanted)
        origin = f"{accelerator.name}, {wanted.summary()} on {len(samples)} images"
        origin += " of those evaluated" if calibration is None else ""
    run = evaluation.GraphRun(network, accelerator, chosen, engine, backend)
    if save_formats is not None:
        evaluation.save_formats(chosen, network.name, save_formats, origin)
    with interruptible(state), progress() as report:
        result = evaluation.evaluate(
            run, data, classes, batch=batch, float_network=compare, state=state,
            progress=lambda done, total: report(done / total, f"{done} of {total} images"),
        )  # fmt: skip
    result = replace(result, formats_origin=origin)
    emit(result, as_json, evaluation_csv if as_csv else None, evaluation_renderables, output)


@app.command()
def calibrate(
    model: ModelArgument,
    images: Annotated[Path, typer.Argument(help="images to calibrate on (.npy), N first, normalised as in training")],
    output: Annotated[Path, typer.Option("--output", "-o", help="formats to write (.yaml), for `evaluate --formats`")],
    arch: ArchOption = DEFAULT_ARCH,
    settings: SetOption = None,
    method: MethodOption = "least_squares",
    percentile: PercentileOption = 99.99,
    channel_scales: ChannelScalesOption = "none",
    weight_bits: WeightBitsOption = None,
    activation_bits: ActivationBitsOption = None,
    correct_bias: CorrectBiasOption = False,
) -> None:
    """Choose the formats of a trained network's tensors on some images, and write them."""
    from logaccel import evaluation
    from logaccel.evaluation.formats import check_images, formats_summary
    from logaccel.model.onnx_import import load_onnx

    check_folder(output)
    check_apart([output], (model, images, arch))
    choices = method, percentile, channel_scales, weight_bits, activation_bits, correct_bias
    wanted = evaluation.Calibration(*choices)  # type: ignore[arg-type]
    accelerator, network = load_architectures([arch], settings)[0], load_onnx(model)
    samples = check_images(open_array(images), network.graph.input_shape, str(images))
    with calibrating():
        chosen = evaluation.calibrate(network, accelerator, samples, wanted)
    origin = f"{accelerator.name}, {wanted.summary()} on {len(samples)} images"
    evaluation.save_formats(chosen, network.name, output, origin)
    typer.echo(f"{output}: {network.name} on {accelerator.name}, {len(samples)} images\n")
    typer.echo(formats_summary(chosen, network.graph))
