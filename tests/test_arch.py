"""Architectures: every shipped file, every error with its whole message, variation, the schema."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from logaccel.arch import Architecture, LayerSettings, PEArray, PostProcessing, json_schema, load_arch
from logaccel.arch import shipped_architectures as shipped
from logaccel.errors import ConfigError
from logaccel.formats import LinearWord, LogWord
from logaccel.pe import DecodePE, LogsumPE, MultiplyPE, ShiftPE

ROOT = Path(__file__).parents[1]
NAMES = sorted(shipped())
COMPARISON = [
    "multiply_16b_16x16", "multiply_8b_16x16", "multiply_4b_16x16",
    "shift_3b_16x16", "shift_4b_16x16", "shift_5b_16x16",
    "decode_4b_16x16", "decode_4b_sqrt2_bins_16x16", "decode_4b_sqrt2_constant_16x16", "logsum_4b_16x16",
]  # fmt: skip
KEYS = [
    "description",
    "pe",
    "activation",
    "weight",
    "output",
    "array",
    "dataflow",
    "memory",
    "post",
    "clock_mhz",
    "layers",
]
BASE = """
pe: {kind: shift, acc_bits: 40}
activation: {kind: log, bits: 4}
weight: {kind: linear, bits: 8}
array: {rows: 16, cols: 16}
"""


def base(**changes: Any) -> dict[str, Any]:
    return yaml.safe_load(BASE) | changes


def write(folder: Path, tree: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False) if not isinstance(tree, str) else tree, encoding="utf-8")
    return path


def message_of(folder: Path, tree: Any) -> str:
    """Return what load_arch complains of, with the file's path shortened to its name."""
    path = write(folder, tree)
    with pytest.raises(ConfigError) as raised:
        load_arch(path)
    return str(raised.value).replace(str(path), "mine.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_shipped_file(name: str) -> None:
    text = (ROOT / "arch_configs" / f"{name}.yaml").read_text(encoding="utf-8")
    arch = load_arch(name)
    assert arch == load_arch(ROOT / "arch_configs" / f"{name}.yaml") and arch.name == name and arch.description
    assert list(yaml.safe_load(text)) == [key for key in KEYS if key in yaml.safe_load(text)], "keys in one order"
    assert text.startswith("# ") and max(map(len, text.splitlines())) <= 120
    for line in text.splitlines():
        bare = not line or line.startswith(("#", "description")) or line.endswith(":")
        assert bare or "#" in line, f"a key without an explanation: {line}"


@pytest.mark.parametrize("name", NAMES)
def test_shipped_accumulators_are_exact_as_their_comments_say(name: str) -> None:
    arch, text = load_arch(name), shipped()[name]
    claimed = [(int(bits), int(k)) for bits, k in re.findall(r"(\d+) bits for K = (\d+)", text)]
    layers = [arch.for_layer("inner", 1, 3)] + ([arch.for_layer("conv", 0, 3)] if "first" in arch.layers else [])
    assert len(claimed) == len(layers)
    for (bits, reduction), layer in zip(claimed, layers, strict=True):
        paths = [layer.pe.datapath(layer.activation.at(0, sign), layer.weight.at(0, True)) for sign in (False, True)]
        assert max(path.exact_acc_bits(reduction) for path in paths) == bits <= layer.pe.acc_bits
        assert reduction == 25088


def test_the_comparison_set_is_fair() -> None:
    archs = [load_arch(name) for name in COMPARISON]
    assert len({(arch.array, arch.dataflow, arch.clock_mhz, arch.post, arch.cost_profile) for arch in archs}) == 1
    assert all(arch.pe.zero_gating for arch in archs)
    assert archs[0].array == PEArray(rows=16, cols=16, overlap=True, pipeline_stages=1) and archs[0].clock_mhz == 500


def test_the_default_comparison_is_part_of_it() -> None:
    from logaccel.comparison import STANDARD_ARCHITECTURES

    assert set(STANDARD_ARCHITECTURES) <= set(COMPARISON)


def test_defaults_and_the_name_of_the_file(tmp_path: Path) -> None:
    arch = load_arch(write(tmp_path, BASE))
    assert arch == Architecture(
        name="mine",
        pe=ShiftPE(acc_bits=40, zero_gating=False, overflow="saturate", drop_bits=0, root="bins", constant_bits=8),
        activation=LogWord(bits=4, steps_per_octave=1, rounding="nearest"),
        weight=LinearWord(bits=8),
        output=LinearWord(bits=16),
        array=PEArray(rows=16, cols=16, overlap=False, pipeline_stages=1),
        dataflow="os",
        post=PostProcessing(stages=3, round_bits=8),
        clock_mhz=500.0,
        layers={},
    )
    assert load_arch(write(tmp_path, base(name="other", clock_mhz=200))).name == "other"


PE = {"kind": "shift", "acc_bits": 40}
ARRAY = {"rows": 16, "cols": 16}
LINEAR, LOG = {"kind": "linear", "bits": 8}, {"kind": "log", "bits": 4}
PADS = {name: {"bytes": 1024} for name in ("ifmap", "filter", "ofmap")}
LOGSUM = {"kind": "logsum", "acc_bits": 22}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"speed": 3}, "speed: unknown key"),
    ({"array": ARRAY | {"depth": 3}}, "array.depth: unknown key"),
    ({"pe": PE | {"fraction_bits": 3}}, "pe.fraction_bits: unknown key"),  # of another kind: no hint at this one's
    ({"array": ARRAY | {"ovrlap": True}}, "array.ovrlap: unknown key (did you mean 'overlap'?)"),
    ({"pe": PE | {"dropbits": 3}}, "pe.dropbits: unknown key (did you mean 'drop_bits'?)"),
    ({"layers": {"fc": {"pe": PE | {"overflw": 1}}}}, "layers.fc.pe.overflw: unknown key (did you mean 'overflow'?)"),
    (
        {"memory": PADS | {"dram": {"bits_per_cycle": 64, "latency_cycle": 3}}},
        "memory.dram.latency_cycle: unknown key (did you mean 'latency_cycles'?)",
    ),
    (
        {"memory": PADS | {"dram": {"bits_per_cycle": 64}, "mapping": {"fc": {"ofmap_row": 3}}}},
        "memory.mapping.fc.ofmap_row: unknown key (did you mean 'ofmap_rows'?)",
    ),
    ({"pe": {"kind": "shift"}}, "pe.acc_bits: required, but missing"),
    ({"array": ARRAY | {"rows": 0}}, "array.rows: must be at least 1, got 0"),
    ({"array": ARRAY | {"cols": 1025}}, "array.cols: must be at most 1024, got 1025"),
    ({"array": ARRAY | {"rows": "16"}}, "array.rows: input should be a valid integer, got '16'"),
    ({"array": ARRAY | {"rows": 16.0}}, "array.rows: input should be a valid integer, got 16.0"),
    ({"array": ARRAY | {"overlap": 1}}, "array.overlap: input should be a valid boolean, got 1"),
    ({"array": [16, 16]}, "array: must be a mapping of keys, got [16, 16]"),
    ({"array": None}, "array: must be a mapping of keys, got None"),
    ({"clock_mhz": 0}, "clock_mhz: must be greater than 0, got 0"),
    ({"clock_mhz": float("nan")}, "clock_mhz: must be at most 10000, got nan"),
    ({"clock_mhz": float("inf")}, "clock_mhz: must be at most 10000, got inf"),
    ({"dataflow": "rs"}, "dataflow: must be 'os', 'ws', 'is' or 'auto', got 'rs'"),
    (
        {"pe": {"kind": "add", "acc_bits": 40}},
        "pe: kind must be one of 'multiply', 'shift', 'decode', 'logsum', got 'add'",
    ),
    ({"pe": {"acc_bits": 40}}, "pe: needs a key 'kind'"),
    ({"pe": PE | {"acc_bits": 63}}, "pe.acc_bits: must be at most 62, got 63"),
    ({"pe": PE | {"overflow": "clip"}}, "pe.overflow: must be 'saturate' or 'wrap', got 'clip'"),
    ({"activation": {"kind": "float", "bits": 4}}, "activation: kind must be one of 'linear', 'log', got 'float'"),
    ({"activation": LOG | {"bits": 9}}, "activation.bits: must be at most 8, got 9"),
    ({"activation": LOG | {"steps_per_octave": 3}}, "activation.steps_per_octave: must be 1, 2, 4 or 8, got 3"),
    ({"weight": LINEAR | {"bits": 33}}, "weight.bits: must be at most 32, got 33"),
    ({"weight": LINEAR | {"rounding": "floor"}}, "weight.rounding: unknown key"),
    ({"post": {"round_bits": 0}}, "post.round_bits: must be at least 1, got 0"),
    ({"post": {"channel_shift_bits": 5}}, "post.channel_shift_bits: must be at most 4, got 5"),
    ({"post": {"channel_shift_bits": -1}}, "post.channel_shift_bits: must be at least 0, got -1"),
    ({"layers": {"first": {"array": ARRAY}}}, "layers.first.array: unknown key"),
    ({"layers": {"fc": {"weight": LINEAR | {"bits": 0}}}}, "layers.fc.weight.bits: must be at least 1, got 0"),
    (
        {"activation": LINEAR},
        "pe.kind: a shift PE takes one log operand and one linear operand, got linear activations and linear weights",
    ),
    (
        {"pe": {"kind": "multiply", "acc_bits": 32}},
        "pe.kind: a multiply PE takes linear activations and linear weights, got log activations and linear weights",
    ),
    (
        {"pe": {"kind": "decode", "acc_bits": 32}},
        "pe.kind: a decode PE takes log activations and log weights, got log activations and linear weights",
    ),
    (
        {"pe": LOGSUM},
        "pe.kind: a logsum PE takes log activations and log weights, got log activations and linear weights",
    ),
    (
        {"layers": {"first": {"activation": LINEAR}}},
        "layers.first: pe.kind: a shift PE takes one log operand and one linear operand, "
        "got linear activations and linear weights",
    ),
    ({"weight": LINEAR | {"bits": 1}}, "weight.bits: must be at least 2 (weights are signed), got 1"),
    ({"activation": LOG | {"bits": 6}}, "pe: a product would need 70 bits, must be at most 62"),
    (
        {
            "pe": {"kind": "shift", "acc_bits": 60},
            "activation": LOG | {"steps_per_octave": 2},
        },
        "pe: a combined psum would need 70 bits, must be at most 62",
    ),
    (
        {"pe": LOGSUM | {"fraction_bits": 1}, "activation": LOG | {"steps_per_octave": 4}, "weight": LOG},
        "pe.fraction_bits: 2^fraction_bits must be at least steps_per_octave (4), got 1",
    ),
    ({"name": ""}, "name: string should have at least 1 character, got ''"),
    ({"layers": {1: {}}}, "layers.1.[key]: input should be a valid string, got 1"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message[:50] for _, message in WRONG])
def test_one_fault_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message_of(tmp_path, base(**changes)) == f"mine.yaml: {message}"


def test_all_faults_at_once(tmp_path: Path) -> None:
    tree = base(array={"rows": 0, "cols": 0, "x": 1}, activation={"kind": "log"}, clock_mhz=-1)
    del tree["weight"]
    assert message_of(tmp_path, tree).splitlines() == [
        "mine.yaml: activation.bits: required, but missing",
        "mine.yaml: weight: required, but missing",
        "mine.yaml: array.rows: must be at least 1, got 0",
        "mine.yaml: array.cols: must be at least 1, got 0",
        "mine.yaml: array.x: unknown key",
        "mine.yaml: clock_mhz: must be greater than 0, got -1",
    ]


def test_all_impossible_combinations_at_once(tmp_path: Path) -> None:
    layers = {"first": {"activation": LINEAR}, "fc": {"weight": LINEAR | {"bits": 1}}}
    assert message_of(tmp_path, base(activation=LOG | {"bits": 6}, layers=layers)).splitlines() == [
        "mine.yaml: pe: a product would need 70 bits, must be at most 62",
        "mine.yaml: layers.first: pe.kind: a shift PE takes one log operand and one linear operand, "
        "got linear activations and linear weights",
        "mine.yaml: layers.fc: weight.bits: must be at least 2 (weights are signed), got 1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping of keys, got nothing (the file is empty)"),
        ("# only a comment\n", "must be a mapping of keys, got nothing (the file is empty)"),
        ("- 1\n- 2\n", "must be a mapping of keys, got a list"),
        ("hello", "must be a mapping of keys, got 'hello'"),
        ("pe: {kind: shift", "not valid YAML: line 1: expected ',' or '}', but got '<stream end>'"),
        ("pe: 1\narray: [1,\n  rows: 2\nb: }", "not valid YAML: line 4: expected ',' or ']', but got ':'"),
        ("pe:\n\tkind: shift", "not valid YAML: line 2: found character '\\t' that cannot start any token"),
        (
            "a: !!python/object:os.system x",
            "not valid YAML: line 1: unknown tag 'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("array: 1\narray: 2\n", "not valid YAML: line 2: key 'array' is given twice"),
        ("a: \x00", "not valid YAML: character 3: special characters are not allowed"),
    ],
)
def test_what_is_not_a_mapping(tmp_path: Path, text: str, message: str) -> None:
    assert message_of(tmp_path, text) == f"mine.yaml: {message}"


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^nowhere: no such file, nor an architecture of that name; shipped are decode_4b"
    ):
        load_arch("nowhere")
    with pytest.raises(ConfigError, match=r"of that name \(did you mean 'shift_4b_16x16'\?\); shipped are decode_4b"):
        load_arch("shift_4b_16x61")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(tmp_path))}: is a folder, must be a file$"):
        load_arch(tmp_path)
    path = tmp_path / "binary.yaml"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: not a text file in UTF-8$"):
        load_arch(path)


def test_a_file_goes_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_arch("shift_4b_16x16").array.rows == 16
    (tmp_path / "shift_4b_16x16").write_text(BASE.replace("rows: 16", "rows: 7"))
    assert load_arch("shift_4b_16x16").array.rows == 7


def test_replace() -> None:
    arch = load_arch("shift_4b_16x16")
    wide = arch.replace(**{"array.rows": 32, "clock_mhz": 200.0})
    assert (wide.array.rows, wide.array.cols, wide.clock_mhz, wide.pe) == (32, 16, 200.0, arch.pe)
    assert arch.array.rows == 16, "the old one is as it was"
    assert arch.replace(array={"rows": 32}).array == wide.array
    assert arch.replace(pe={"acc_bits": 30}).pe == ShiftPE(acc_bits=30, zero_gating=True)
    other = arch.replace(pe={"kind": "multiply", "acc_bits": 32}, activation=LinearWord(bits=8))
    assert other.pe == MultiplyPE(acc_bits=32), "another kind starts afresh"
    assert arch.replace(pe=ShiftPE(acc_bits=30)).pe == ShiftPE(acc_bits=30)
    named = arch.replace(**{"layers.conv1.weight": {"kind": "linear", "bits": 4}})
    assert named.layers == {"conv1": LayerSettings(weight=LinearWord(bits=4))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"array.rows": 0}, "array.rows: must be at least 1, got 0"),
        ({"array.depth": 0}, "array.depth: unknown key"),
        ({"array.rows.x": 0}, "array.rows: input should be a valid integer, got {'x': 0}"),
        ({"clock": 3}, "clock: unknown key"),
        ({"activation.bits": 6}, "pe: a product would need 70 bits, must be at most 62"),
    ],
)
def test_replace_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_arch("shift_4b_16x16").replace(**changes)
    assert str(raised.value) == f"shift_4b_16x16: {message}"


def test_settings_of_single_layers_and_which_wins() -> None:
    words = {key: LinearWord(bits=bits) for key, bits in (("first", 3), ("last", 5), ("conv1", 6))}
    arch = Architecture(
        name="a",
        pe=MultiplyPE(acc_bits=32),
        activation=LinearWord(bits=8),
        weight=LinearWord(bits=8),
        array=PEArray(rows=4, cols=4),
        layers={
            "first": LayerSettings(weight=words["first"], pe=MultiplyPE(acc_bits=20)),
            "last": LayerSettings(weight=words["last"], output=LinearWord(bits=12)),
            "conv1": LayerSettings(weight=words["conv1"]),
        },
    )
    assert arch.for_layer("x", 1, 3) == arch.replace(layers={}) or arch.for_layer("x", 1, 3).weight.bits == 8
    assert arch.for_layer("x", 0, 3).weight.bits == 3
    assert arch.for_layer("x", 2, 3).weight.bits == 5
    only = arch.for_layer("x", 0, 1)
    assert (only.weight.bits, only.pe.acc_bits, only.output.bits) == (5, 20, 12), "last goes over first"
    own = arch.for_layer("conv1", 0, 3)
    assert (own.weight.bits, own.pe.acc_bits) == (6, 20), "a name goes over first"


def test_records_cannot_be_changed() -> None:
    arch = load_arch("shift_4b_16x16")
    with pytest.raises(Exception, match="frozen"):
        arch.array.rows = 3  # type: ignore[misc]


def test_schema_describes_every_key() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema") and schema["required"] == [
        "pe",
        "activation",
        "weight",
        "array",
    ]
    for name, definition in [("Architecture", schema), *schema["$defs"].items()]:
        assert definition.get("additionalProperties") is False or definition.get("enum"), name
        for key, entry in definition.get("properties", {}).items():
            assert key == "kind" or entry.get("description"), f"{name}.{key} has no description"


@pytest.mark.skipif(importlib.util.find_spec("jsonschema") is None, reason="needs jsonschema (extra dev)")
def test_schema_accepts_the_shipped_files_and_no_misspelling() -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    for name, text in shipped().items():
        assert validator.is_valid(yaml.safe_load(text)), name
    assert not validator.is_valid(base(arry=1))
    assert not validator.is_valid(base(array={"rows": 0, "cols": 1}))


MODELS: list[type[BaseModel]] = [
    Architecture, PEArray, PostProcessing, LayerSettings, LinearWord, LogWord, MultiplyPE, ShiftPE, DecodePE, LogsumPE,
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_page_explains_every_key_and_its_default(model: type[BaseModel]) -> None:
    page = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]*) \| ([^|]*) \|", page, re.MULTILINE)
    for key, field in model.model_fields.items():
        mine = [default.strip() for name, _, default in rows if name == key]
        assert mine, f"docs/architectures.md has no row for {key}"
        if isinstance(field.default, bool | int | float | str) and key not in ("kind", "description"):
            shown = (
                str(field.default).lower()
                if isinstance(field.default, bool)
                else f"{field.default:g}"
                if isinstance(field.default, float)
                else str(field.default)
            )
            assert f"`{shown}`" in mine, f"{key}: the default is {shown}, the page says {mine}"


def test_the_page_s_examples_load(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        load_arch(write(tmp_path, block))
    named = set(re.findall(r"`((?:multiply|shift|decode|logsum|gemmini)_\w+)`", page))
    assert set(NAMES) == named
