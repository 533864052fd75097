"""Reports show the numbers of the result: tables parsed back, CSV summed, bars measured, names made harmless."""

import csv
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from report_cases import PES, architecture, comparison, network, result
from rich.cells import cell_len

import logaccel
from logaccel import units
from logaccel.errors import ConfigError
from logaccel.report.csv import comparison_csv, layers_csv
from logaccel.report.html import comparison_html, summary_html
from logaccel.report.plots import plot_comparison, plot_result, save_figure
from logaccel.report.text import comparison_text, summary_text, trace_dict, trace_text
from logaccel.result import SimulationResult
from logaccel.trace import LayerTensors, Trace

HOSTILE = "<script>alert(1)</script> [red]$x$\n\x1b[31m"
SIZES = {"pJ": 1, "nJ": 1e3, "µJ": 1e6, "µm²": 1, "mm²": 1e6, "b": 1, "kb": 1e3, "Mb": 1e6, "k": 1e3, "M": 1e6}


def tables(text: str) -> list[dict[str, dict[str, str]]]:
    """Parse text tables: header lines above a rule, columns by the positions of the cells, rows by their key."""
    lines, found = text.splitlines(), []
    for rule in [number for number, line in enumerate(lines) if line.startswith("──")]:
        top = next(n for n in range(rule, -1, -1) if n == 0 or not lines[n - 1].strip() or lines[n - 1] in TITLES)
        body, blank = [], 0
        for line in lines[rule + 1 :]:
            blank = 0 if line.strip() else blank + 1
            total = blank == 1 and not body[-1].startswith(("total", "array"))
            if not line.strip() and not total:
                break
            if line.startswith("·") or line in TITLES:
                break
            body += [line] if line.strip() else []
        cuts = column_cuts([*lines[top:rule], *body])
        head = [" ".join(cell(line, cut) for line in lines[top:rule]).split() for cut in cuts]
        rows = [[cell(line, cut) for cut in cuts] for line in body]
        found.append({row[0]: dict(zip((" ".join(h) for h in head[1:]), row[1:], strict=True)) for row in rows})
    return found


TITLES = {
    title + more
    for title in (
        "Comparison",
        "Layers",
        "Energy and area by component",
        "Formats (±: signed) and bits moved by operand",
    )
    for more in ("", " (continued)")
}


def column_cuts(lines: list[str]) -> list[tuple[int, int]]:
    """Return where columns stand: spans between runs of two characters that are blank in every line."""
    width = max(map(len, lines))
    used = [any(n < len(line) and line[n] != " " for line in lines) for n in range(width)] + [False, False]
    cuts, start = [], None
    for n in range(width + 2):
        if used[n] and start is None:
            start = n
        if start is not None and not used[n] and (n + 1 >= len(used) or not used[n + 1]):
            cuts.append((start, n))
            start = None
    return cuts


def cell(line: str, cut: tuple[int, int]) -> str:
    return line[slice(*cut)].strip()


def merged(text: str) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for table in tables(text):
        for key, cells in table.items():
            rows.setdefault(key, {}).update(cells)
    return rows


def by_architecture(text: str) -> dict[str, dict[str, str]]:
    """Return the figures of a comparison, whose columns are architectures: their names are folded at underscores."""
    found: dict[str, dict[str, str]] = {}
    for figure, cells in merged(text).items():
        for name, value in cells.items():
            found.setdefault(name.replace(" ", "_"), {})[figure] = value
    return found


def number(text: str) -> float:
    return float(text.replace(",", ""))


def near(cells: dict[str, str], start: str, value: float) -> bool:
    """Whether the column whose header starts so shows the value to half of its last digit, in its own unit."""
    header = next(key for key in cells if key.startswith(start))
    shown, size = cells[header], SIZES.get(header.split()[-1], 1)
    digits = len(shown.partition(".")[2])
    return abs(number(shown) - value / size) <= 0.5001 * 10.0**-digits


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_summary_shows_every_layer_and_the_totals(width: int) -> None:
    found = result(architecture())
    rows = merged(summary_text(found, width))
    for layer in found.layers:
        cells = rows[layer.name]
        assert near(cells, "cycles", layer.total_cycles) and near(cells, "folds", layer.folds)
        assert near(cells, "MACs", layer.macs)
        assert near(cells, "spatial", 100 * layer.spatial_utilization) and near(cells, "util.", 100 * layer.utilization)
        assert near(cells, "ALU energy", layer.energy.alu_pj) and near(cells, "array energy", layer.energy.array_pj)
        assert near(cells, "bits moved", sum(layer.bits_moved.values()))
        assert near(cells, "SNR", layer.snr_db) and near(cells, "clipped", layer.clipped)
        assert near(cells, "acc.", layer.acc_bits) and near(cells, "exact", layer.exact_acc_bits)
        for operand in ("filter", "psum"):
            header = next(key for key in cells if re.fullmatch(rf"{operand} \w+", key) and "fsr" not in cells[key])
            assert near(cells, header, layer.bits_moved[operand])
    total = rows["total"]
    assert near(total, "cycles", found.total_cycles) and near(total, "clipped", found.clipped)
    assert near(total, "array energy", found.energy_array_pj) and near(total, "ALU energy", found.energy_alu_pj)
    assert near(total, "util.", 100 * found.utilization)
    assert near(rows["psum registers"], "energy", found.energy_pj["psum_registers"])
    assert near(rows["array"], "energy", found.energy_array_pj) and near(rows["array"], "area", found.area_um2)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_comparison_shows_every_architecture(width: int) -> None:
    both = comparison()
    rows = by_architecture(comparison_text(both, width))
    assert both.chained_rows is not None
    for row, follower in zip(both.rows, both.chained_rows, strict=True):
        cells = rows[row.arch.name]
        assert near(cells, "cycles", row.total_cycles) and near(cells, "utilization", 100 * row.utilization)
        assert near(cells, "energy ALU", row.energy_alu_pj) and near(cells, "energy array", row.energy_array_pj)
        assert near(cells, "area ALU", row.area.alu_um2) and near(cells, "area array", row.area_um2)
        assert near(cells, "bits moved", sum(row.bits_moved.values()))
        assert all(near(cells, operand, bits) for operand, bits in row.bits_moved.items())
        assert all(near(cells, f"SNR {layer.name}", layer.snr_db) for layer in row.layers)
        assert near(cells, "chained logits", follower.layers[-1].snr_db) and near(cells, "clipped", row.clipped)
        assert follower.accuracy is not None
        assert near(cells, "chained agreement", 100 * follower.accuracy.top1_agreement)
        assert near(cells, "chained accuracy", 100 * follower.accuracy.top1_accuracy)
    assert "float network 97.2 %" in comparison_text(both, width)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_text_fits_its_width_and_columns_stand_straight(width: int) -> None:
    deep = network(tuple(f"a_rather_long_name_of_layer_{n}" for n in range(30)))
    for text in (
        summary_text(result(architecture()), width),
        summary_text(result(architecture("decode_4b_sqrt2_bins_16x16"), deep), width),
        comparison_text(comparison(), width),
        comparison_text(comparison(shapes=deep), width),
    ):
        assert "\x1b" not in text and not text.endswith("\n")
        assert max(cell_len(line) for line in text.splitlines()) <= width
        names = {match.group() for match in re.finditer(r"^\S+_16x16", text, re.M)}
        assert "…" not in "".join(names)
    for text in (summary_text(result(architecture()), width), comparison_text(comparison(), width)):
        assert "…" not in text  # nothing was cut to fit
    ends = {len(line) for line in tables_lines(comparison_text(comparison(), width))}
    assert len(ends) == 1  # right-aligned: every row of the first table ends in the same column


def tables_lines(text: str) -> list[str]:
    lines = text.splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("──"))
    blank = next(number for number in range(rule, len(lines)) if not lines[number])
    return lines[rule:blank]


def test_a_page_of_100_columns_holds_eight_architectures_in_one_table() -> None:
    both = comparison()
    assert len(tables(comparison_text(both, 100))) == 1 and len(both.rows) == 8
    assert len(tables(comparison_text(comparison(), 50))) > 1


def test_the_provenance_of_prices_is_told() -> None:
    found = result(architecture())
    text = " ".join(summary_text(found, 400).split())
    source = found.area.provenance
    assert f"cost profile {source.profile}: {source.node_nm:g} nm, {source.voltage_v:g} V" in text
    assert source.unverified and source.excluded
    assert all(entry.partition(":")[0] in text.partition("unverified")[2] for entry in source.unverified)
    assert all(entry in text for entry in source.excluded)
    assert "operands are always ready" in text and "logaccel 9.8.7" in text


def test_missing_values_are_no_zeros() -> None:
    shown = summary_text(result(architecture(), values=False), 200)
    assert "SNR" not in shown and "clipped" not in shown and "exact" in shown
    text = comparison_text(comparison(values=False), 200)
    assert "SNR" not in text and "agree" not in text
    gated = summary_text(result(architecture(**{"pe.zero_gating": True}), values=False), 200)
    assert "50.0 % of the products assumed live" in gated


def test_without_a_chain_the_recorded_run_is_shown() -> None:
    rows = by_architecture(comparison_text(comparison(chained=False), 200))
    assert "chained" not in " ".join(rows["shift_4b_16x16"])
    assert near(rows["shift_4b_16x16"], "agreement", 91.4)


class Page(HTMLParser):
    """Collects tags and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {key for key, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile() -> SimulationResult:
    return result(architecture(name="shift_4b_16x16").replace(name="<b>&\"'"), network((HOSTILE, "plain")))


def test_html_shows_the_numbers_and_escapes_everything() -> None:
    page = Page(summary_html(hostile()))
    allowed = {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "br", "ul", "li"}
    assert set(page.tags) <= allowed and page.attributes <= {"style", "class"}
    assert any("<script>" in text for text in page.texts)
    both = comparison()
    page = Page(comparison_html(both))
    assert page.tags.count("table") == 1 and page.tags.count("th") == 1 + len(both.rows)
    assert f"{both.rows[0].total_cycles:,}" in page.texts and "logsum" in page.texts


def test_hostile_names_stay_text() -> None:
    text = summary_text(hostile(), 120)
    assert "\x1b" not in text and "<script>alert(1)" in text
    assert "[red]" in summary_text(result(architecture(), network(("[red]x", "y"))), 120)


def test_layers_csv_sums_to_the_totals() -> None:
    found = result(architecture())
    rows = list(csv.DictReader(io.StringIO(layers_csv(found))))
    assert [row["layer"] for row in rows] == [layer.name for layer in found.layers]
    assert sum(int(row["total_cycles"]) for row in rows) == found.total_cycles
    assert sum(float(row["energy_array_pj"]) for row in rows) == pytest.approx(found.energy_array_pj, rel=1e-12)
    for key, value in found.energy_pj.items():
        assert sum(float(row[f"energy_{key}_pj"]) for row in rows) == pytest.approx(value, rel=1e-12)
    assert sum(int(row["psum_moved_bits"]) for row in rows) == found.bits_moved["psum"]
    for row in rows:
        origin = (row["logaccel_version"], row["architecture"], row["cost_profile"])
        assert origin == ("9.8.7", "shift_4b_16x16", "horowitz_45nm")
    assert next(csv.DictReader(io.StringIO(layers_csv(hostile()))))["layer"] == HOSTILE


def test_comparison_csv_has_a_row_an_architecture() -> None:
    both = comparison()
    rows = list(csv.DictReader(io.StringIO(comparison_csv(both))))
    assert [row["architecture"] for row in rows] == list(PES)
    for row, found in zip(rows, both.rows, strict=True):
        assert int(row["total_cycles"]) == found.total_cycles and float(row["area_array_um2"]) == found.area_um2
        assert float(row["energy_array_pj"]) == found.energy_array_pj
        assert float(row["snr_conv2_db"]) == found.layers[1].snr_db
        assert float(row["chained_top1_agreement"]) == pytest.approx(found.accuracy.top1_agreement)
    timing = list(csv.DictReader(io.StringIO(comparison_csv(comparison(values=False)))))
    assert timing[0]["clipped_accumulations"] == "" and timing[0]["snr_conv1_db"] == ""


def test_bars_of_a_result_have_the_heights_of_the_data() -> None:
    found = result(architecture())
    cycles, energy, use = plot_result(found).axes
    assert [bar.get_height() for bar in cycles.patches] == [layer.total_cycles for layer in found.layers]
    stacks = np.array([[bar.get_height() for bar in group] for group in energy.containers])
    expected = [[layer.energy_pj[key] for layer in found.layers] for key in found.energy_pj]
    assert stacks == pytest.approx(np.array(expected) / 1e3)  # nJ
    tops = [max(bar.get_y() + bar.get_height() for bar in energy.patches[n :: len(found.layers)]) for n in range(4)]
    assert tops == pytest.approx([layer.energy.array_pj / 1e3 for layer in found.layers])
    assert [bar.get_height() for bar in use.containers[1]] == pytest.approx([100 * x.utilization for x in found.layers])


def test_bars_of_a_comparison_have_the_lengths_of_the_data() -> None:
    both = comparison()
    energy, area, noise, top1, cycles = plot_comparison(both).axes
    ends = [max(bar.get_x() + bar.get_width() for bar in energy.patches[n :: len(PES)]) for n in range(len(PES))]
    assert ends == pytest.approx([row.energy_array_pj / 1e3 for row in both.rows])
    ends = [max(bar.get_x() + bar.get_width() for bar in area.patches[n :: len(PES)]) for n in range(len(PES))]
    assert ends == pytest.approx([row.area_um2 / 1e6 for row in both.rows])
    assert both.chained_rows is not None
    assert [bar.get_width() for bar in noise.patches] == [row.layers[-1].snr_db for row in both.chained_rows]
    agreement = [100 * row.accuracy.top1_agreement for row in both.chained_rows if row.accuracy is not None]
    assert top1.lines[0].get_xdata() == pytest.approx(agreement)
    assert [bar.get_height() for bar in cycles.patches] == [layer.total_cycles for layer in both.rows[0].layers]
    assert "the same on all 8" in cycles.get_title(loc="left")


def test_different_cycles_are_grouped_by_architecture() -> None:
    rows = [result(architecture(**{"array.rows": size}).replace(name=f"rows_{size}")) for size in (4, 8)]
    from logaccel.comparison import Comparison

    cycles = plot_comparison(Comparison(tuple(rows), None)).axes[-1]
    assert [[bar.get_height() for bar in group] for group in cycles.containers] == [
        [layer.total_cycles for layer in row.layers] for row in rows
    ]
    legend = cycles.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["rows_4", "rows_8"]


@pytest.mark.parametrize("layers", [1, 4, 30])
def test_nothing_is_clipped_at_the_edge(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = network(tuple(f"stage{n}.block{n}.conv" for n in range(layers)))
    names = tuple(PES) if layers == 4 else ("shift_4b_16x16",)
    for figure in (plot_result(result(architecture(), shapes)), plot_comparison(comparison(names, shapes))):
        figure.canvas.draw()  # settles the layout
        texts: list[Text] = []
        with monkeypatch.context() as patch:  # ticks out of sight have labels too, but never draw them
            patch.setattr(Text, "draw", lambda self, renderer, seen=texts: seen.append(self))
            figure.draw(figure.canvas.get_renderer())
        texts = [text for text in texts if text.get_visible() and text.get_text()]
        page = figure.bbox
        assert len(texts) > 10
        for text in texts:
            box = text.get_window_extent()
            assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, text
            assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, text


def test_files_have_the_suffix_s_format_and_name_their_origin(tmp_path: Path) -> None:
    figure = plot_result(hostile())
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")):
        path = tmp_path / f"figure{suffix}"
        save_figure(figure, path)
        assert path.read_bytes().startswith(start)
    for suffix in (".png", ".svg"):
        content = (tmp_path / f"figure{suffix}").read_bytes()
        assert b"horowitz_45nm (with unverified entries)" in content and b"9.8.7" in content
    once, again = tmp_path / "once.svg", tmp_path / "again.svg"
    for path in (once, again):
        save_figure(plot_result(hostile()), path)
    assert once.read_bytes() == again.read_bytes()


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        save_figure(plot_result(result(architecture())), tmp_path / "figure.bmp")
    assert str(refusal.value) == f"{tmp_path / 'figure.bmp'}: suffix: must be one of .png, .svg, .pdf, got '.bmp'"
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    figure = plot_result(result(architecture()))
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(ConfigError) as refusal:
        save_figure(figure, tmp_path / "taken.png")
    assert str(refusal.value) == f"{tmp_path / 'taken.png'}: is a folder, must be a file"
    with pytest.raises(OSError, match=r"nowhere/figure\.png"):
        save_figure(figure, tmp_path / "nowhere" / "figure.png")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_figures_need_no_display_and_tables_no_matplotlib() -> None:
    code = (
        "import sys, report_cases as c\n"
        "from logaccel.report.text import summary_text\nfrom logaccel.report.html import summary_html\n"
        "found = c.result(c.architecture()); summary_text(found); summary_html(found)\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from logaccel.report.plots import plot_result\nplot_result(found).canvas.draw()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    here = Path(__file__).parent
    paths = f"{here}:{here.parent}"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": paths, "HOME": str(Path.home())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_traces_are_described() -> None:
    layer = network(("only",)).layers[0]
    ifmap = np.zeros((3, 40), np.float32)
    ifmap[:, :10] = 2.5
    ofmap = np.ones((3, 20), np.float32)
    tensors = LayerTensors(layer, ifmap, -np.ones((20, 40), np.float32), np.zeros(20, np.float32), ofmap)
    trace = Trace("tiny", (tensors,), None, "drawn [bold]by hand")
    tree = trace_dict(trace)
    assert tree["images"] == 3 and tree["layers"][0]["ifmap"] == {
        "shape": [3, 40], "zero_share": 0.75, "min": 0.0, "max": 2.5,
    }  # fmt: skip
    text = trace_text(trace, 120)
    assert "75.0" in text and "3×40" in text and "drawn [bold]by hand" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.format_energy_pj(0), "0 pJ"),
        (units.format_energy_pj(1234), "1.23 nJ"),
        (units.format_energy_pj(999.4), "999 pJ"),
        (units.format_energy_pj(5e6), "5.00 µJ"),
        (units.format_area_um2(250), "250 µm²"),
        (units.format_area_um2(236_000), "0.236 mm²"),
        (units.format_time_us(4.176), "4.18 µs"),
        (units.format_bits(2_500_000), "2.50 Mb"),
        (units.format_cycles(1234567), "1,234,567"),
        (units.format_percent(0.99999), "99.9"),
        (units.format_percent(1.0), "100.0"),
        (units.format_percent(0.0001), "0.1"),
        (units.format_percent(None), "–"),
        (units.format_db(float("inf")), "∞"),
        (units.format_db(-3.04), "-3.0"),
    ],
)
def test_quantities_are_written_with_sensible_prefixes(text: str, expected: str) -> None:
    assert text == expected


def test_a_column_has_one_unit_and_keeps_its_smallest_value() -> None:
    scale = units.energy_scale([15.0, 4200.0, 0.0])
    assert (scale.unit, scale.text(15.0), scale.text(4200.0)) == ("nJ", "0.015", "4.200")


def test_stalls_are_shown_where_there_is_a_memory() -> None:
    memory = {name: {"bytes": 65536} for name in ("ifmap", "filter", "ofmap")} | {"dram": {"bits_per_cycle": 8}}
    found = logaccel.simulate(
        logaccel.load_network("alexnet"), logaccel.load_arch("shift_4b_ws_16x16").replace(memory=memory)
    )
    rows = merged(summary_text(found, 120))
    assert any(layer.stall_cycles for layer in found.layers)
    assert all(near(rows[layer.name], "of them stalled", layer.stall_cycles) for layer in found.layers)
    assert near(rows["total"], "cycles", found.total_cycles)
    assert "of them" not in summary_text(result(architecture()), 120)
