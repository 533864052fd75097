"""Proofs by SAT (yosys), for all operands and every psum: a PE's datapath is its arithmetic specification.

The specification is Verilog of another make: products are a table of what the oracle says about every pair of
codes, sums are wide signed integers with limits. No state lies between operands and next psum, so that one
combinational proof covers every cycle.
"""

import subprocess
import sys

import oracle
import pytest

from logaccel.formats import LinearWord, LogWord
from logaccel.pe import DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.rtl.bench import verilog_folder
from logaccel.rtl.parameters import datapath_parameters, render_parameters, word_of

pytestmark = pytest.mark.rtl
pytest.importorskip("pyosys.libyosys", reason="pyosys is not installed (pip install pyosys)")

LINEAR_4, LOG_3, LOG_4 = LinearWord(bits=4), LogWord(bits=3), LogWord(bits=4)
ROOT_4, QUARTER_4 = LogWord(bits=4, steps_per_octave=2), LogWord(bits=4, steps_per_octave=4)
CIRCUITS = {
    "multiply": (MultiplyPE(acc_bits=9), LINEAR_4, LINEAR_4, False),
    "multiply wraps, drops": (MultiplyPE(acc_bits=6, overflow="wrap", drop_bits=2), LINEAR_4, LINEAR_4, False),
    "shift": (ShiftPE(acc_bits=12, drop_bits=1), LOG_3, LINEAR_4, False),
    "shift by weight": (ShiftPE(acc_bits=10, overflow="wrap"), LINEAR_4, LOG_3, False),
    "shift bins": (ShiftPE(acc_bits=9), ROOT_4, LINEAR_4, False),
    "shift constant": (ShiftPE(acc_bits=12, root="constant", constant_bits=4), ROOT_4, LINEAR_4, False),
    "decode": (DecodePE(acc_bits=12), LOG_3, LOG_4, False),
    "decode increment": (DecodePE(acc_bits=12), LOG_3, LOG_4, True),
    "decode increment drops": (DecodePE(acc_bits=8, drop_bits=3, overflow="wrap"), LOG_3, LOG_4, True),
    "decode bins increment": (DecodePE(acc_bits=8), LOG_3, QUARTER_4, True),
    "decode constant": (DecodePE(acc_bits=12, root="constant", constant_bits=3), LOG_3, ROOT_4, False),
    "logsum": (LogsumPE(acc_bits=8, fraction_bits=4), LOG_3, LOG_4, False),
    "logsum root, gated": (LogsumPE(acc_bits=6, fraction_bits=3, zero_gating=True), ROOT_4, LOG_3, False),
}
DATAPATH = (
    "accumulate accumulate_linear accumulate_log exponent_sum incrementer product product_decode product_logsum "
    "product_multiply product_shift root_constant"
)
ADDERS = "accumulate_linear incrementer"
WIDE = 24  # bits of the specification's integers: more than any sum here needs


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("circuit", CIRCUITS)
def test_a_pe_is_its_specification(circuit, signed, tmp_path):
    assert proven(tmp_path, *datapath_sources(circuit, signed))


MUTANTS = {
    "multiply": ("accumulate_linear.v", "{sign, {(ACC_BITS - 1) {~sign}}}", "{sign, {(ACC_BITS - 1) {1'b1}}}"),
    "shift": ("product_shift.v", "{(WORD_BITS - 1) {1'b0}}, negative}", "{(WORD_BITS - 1) {1'b0}}, 1'b0}"),
    "decode increment": ("incrementer.v", "(word[i] ^ negative) & step", "word[i] & step"),
    "logsum": ("accumulate_log.v", "wire larger = s >= p;", "wire larger = s > (p ^ 1);"),
}


@pytest.mark.parametrize("circuit", MUTANTS)
def test_the_proof_fails_for_a_mutant(circuit, tmp_path):
    parameters, top = datapath_sources(circuit, True)
    assert not proven(tmp_path, parameters, top, MUTANTS[circuit])


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize(("acc_bits", "term_bits"), [(16, 12), (8, 14), (26, 20)])
def test_half_adders_are_the_adder(acc_bits, term_bits, saturate, lanes, tmp_path):
    """For every one-hot magnitude (or none), both signs, every psum."""
    assert proven(tmp_path, "", increment_top(acc_bits, term_bits, saturate, lanes), names=ADDERS)


def test_half_adders_need_a_one_hot_word(tmp_path):
    """The proof leans on it: with any magnitude the two differ."""
    top = increment_top(12, 8, 1, 1).replace("(term & (term - 1)) != 0", "1'b0")
    assert not proven(tmp_path, "", top, names=ADDERS)


ENCODERS = {
    "linear": ("SHIFT", 1, ".OUT_BITS(4)"),
    "log": (
        "OFFSET",
        -2,
        ".STEP_SHIFT(1), .ROUND_BITS(4), .THRESHOLD_COUNT(2), .THRESHOLDS({5'd11, 5'd4}), .OUT_BITS(5)",
    ),
}


@pytest.mark.parametrize("signed", [0, 1], ids=["unsigned", "signed"])
@pytest.mark.parametrize("first", [-4, -1, 0, 3])
@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_by_channel_is_that_of_each_lsb(kind, first, signed, tmp_path):
    """For every value: s shifts the exponent of the LSB, and nothing else."""
    assert proven(tmp_path, "", encoder_top(kind, first, signed), names=f"encoder_{kind}")


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("linear", "halves + {{WIDE_BITS{1'b0}}, 1'b1}", "halves"),
        ("log", "channel_shift} << STEP_SHIFT", "channel_shift}"),
    ],
)
def test_the_proof_of_an_encoder_fails_for_a_mutant(kind, old, new, tmp_path):
    assert not proven(tmp_path, "", encoder_top(kind, 0, 1), (f"encoder_{kind}.v", old, new), names=f"encoder_{kind}")


def encoder_top(kind, first, signed):
    """Return a top with an encoder that takes s of two bits beside the four of one LSB each."""
    key, step, others = ENCODERS[kind]
    common = f".VALUE_BITS(9), .OUT_SIGNED({signed}), {others}"
    fixed = "\n".join(
        f"    encoder_{kind} #({common}, .{key}({first + step * s})) of_{s} (.value(value), .channel_shift(1'b0), "
        f".code(codes[{s}*BITS+:BITS]));"
        for s in range(4)
    )
    return f"""
module top (input [8:0] value, input [1:0] s, output equal);
    localparam BITS = {4 if kind == "linear" else 5};
    wire [BITS-1:0] code;
    wire [4*BITS-1:0] codes;
    encoder_{kind} #({common}, .{key}({first}), .CHANNEL_SHIFT_BITS(2)) device (
        .value(value), .channel_shift(s), .code(code)
    );
{fixed}
    assign equal = code == codes[s*BITS+:BITS];
endmodule
"""


def datapath_sources(circuit, signed):
    """Return parameters, and a top whose output `equal` says that device and specification agree."""
    pe, activation_word, weight_word, increment = CIRCUITS[circuit]
    activation, weight = activation_word.at(0, signed), weight_word.at(0, True)
    path = pe.datapath(activation, weight)
    a, w, p = activation.bits, weight.bits, path.psum_bits
    return (
        render_parameters(datapath_parameters(path, increment=increment)),
        f"""
module top #(`include "logaccel_parameters.vh"
) (input [{a - 1}:0] activation, input [{w - 1}:0] weight, input [{p - 1}:0] psum, output equal);
    wire live, clipped, wanted_clipped;
    wire [LANE_BITS-1:0] lane;
    wire [TERM_BITS-1:0] term;
    wire [{p - 1}:0] next, wanted;
    product product (.activation(activation), .weight(weight), .live(live), .lane(lane), .term(term));
    accumulate accumulate (.live(live), .lane(lane), .term(term), .psum(psum), .next(next), .clipped(clipped));
    specification specification (.pair({{activation, weight}}), .psum(psum), .next(wanted), .clipped(wanted_clipped));
    assign equal = (next == wanted) & (clipped == wanted_clipped){assumption(path)};
endmodule
module specification (input [{a + w - 1}:0] pair, input [{p - 1}:0] psum, output reg [{p - 1}:0] next,
                      output reg clipped);
    reg signed [{WIDE - 1}:0] product, old, sum, s_floor, p_floor, distance;
    reg [3:0] lane;
    reg live;
    always @* begin
        {{live, lane, product}} = 0;
        case (pair)
{table(pe, activation, weight, path)}
        endcase
        {{next, clipped}} = {{psum, 1'b0}};
        {{old, sum, s_floor, p_floor, distance}} = 0;
        if (live) begin
{(logarithmic if path.fraction_bits else linear)(path)}
        end
    end
endmodule
""",
    )


def assumption(path):
    """An empty rail holds zeros: nothing else ever stands there."""
    if not path.fraction_bits:
        return ""
    width = path.acc_bits + 1
    empty = [f"(~psum[{n * width + width - 1}] & |psum[{n * width}+:{path.acc_bits}])" for n in range(2)]
    return f" | {' | '.join(empty)}"


def table(pe, activation, weight, path):
    """Return one line for every pair of codes that has a product: where it goes and what it is."""
    wide = pe.model_copy(update={"acc_bits": 40})
    lines = []
    for a in oracle.all_codes(activation):
        for w in oracle.all_codes(weight):
            unit = oracle.accumulate(wide, activation, weight, [a], [w])
            words = [word or 0 for word in (unit.rails if path.fraction_bits else unit.bins)]
            places = [n for n, rail in enumerate(unit.rails) if rail is not None] if path.fraction_bits else [
                n for n, word in enumerate(words) if word
            ]  # fmt: skip
            if places:
                pair = (word_of(a, activation) << weight.bits) | word_of(w, weight)
                word = words[places[0]]
                value = f"-{WIDE}'sd{-word}" if word < 0 else f"{WIDE}'sd{word}"
                lines.append(f"            {pair}: begin live = 1; lane = {places[0]}; product = {value}; end")
    return "\n".join(lines)


def linear(path):
    """Return the sum of one lane, saturated or wrapped; a product of 0 changes nothing."""
    low, high, bits = -(1 << (path.acc_bits - 1)), (1 << (path.acc_bits - 1)) - 1, path.acc_bits
    kept = f"(sum < {low}) ? {bits}'d{1 << (bits - 1)} : (sum > {high}) ? {bits}'d{high} : sum[{bits - 1}:0]"
    return f"""
            old = $signed(psum[lane*{bits}+:{bits}]);
            sum = old + product;
            clipped = (sum < {low}) | (sum > {high});
            next[lane*{bits}+:{bits}] = {kept if path.saturate else f"sum[{bits - 1}:0]"};"""


def logarithmic(path):
    """Return the update of one rail: {filled, s}."""
    bits, fraction = path.acc_bits, path.fraction_bits
    return f"""
            old = psum[lane*{bits + 1}+:{bits}];
            s_floor = old >>> {fraction};
            p_floor = product >>> {fraction};
            distance = (s_floor > p_floor) ? s_floor - p_floor : p_floor - s_floor;
            sum = ((old > product) ? old : product) + ({1 << fraction} >> distance);
            if (!psum[lane*{bits + 1}+{bits}]) sum = product;
            clipped = sum > {(1 << bits) - 1};
            next[lane*{bits + 1}+:{bits + 1}] = {{1'b1, clipped ? {{{bits}{{1'b1}}}} : sum[{bits - 1}:0]}};"""


def increment_top(acc_bits, term_bits, saturate, lanes):
    """Return a top with the two forms side by side."""
    form = (
        "accumulate_linear #(.LANES({lanes}), .LANE_BITS(1), .ACC_BITS({acc}), .TERM_BITS({term}), .SIGN_MAGNITUDE(1),"
        " .INCREMENT({increment}), .SATURATE({saturate})) form_{increment} (.psum(psum), .lane(lane),"
        " .term({{negative, term}}), .next(next_{increment}), .clipped(clipped_{increment}));"
    )
    forms = [form.format(lanes=lanes, acc=acc_bits, term=term_bits, increment=n, saturate=saturate) for n in range(2)]
    return f"""
module top (input [{lanes * acc_bits - 1}:0] psum, input lane, input negative, input [{term_bits - 2}:0] term,
            output equal);
    wire [{lanes * acc_bits - 1}:0] next_0, next_1;
    wire clipped_0, clipped_1;
    {forms[0]}
    {forms[1]}
    wire several = (term & (term - 1)) != 0;
    assign equal = several | ((next_0 == next_1) & (clipped_0 == clipped_1));
endmodule
"""


def proven(folder, parameters, top, mutant=None, names=DATAPATH):
    """Ask yosys whether `equal` always holds; any other failure of it is an error. names: modules beside the top."""
    (folder / "logaccel_parameters.vh").write_text(parameters)
    (folder / "top.v").write_text(top)
    for name in names.split():
        text = (verilog_folder() / f"{name}.v").read_text(encoding="utf-8")
        if mutant and mutant[0] == f"{name}.v":
            assert mutant[1] in text
            text = text.replace(mutant[1], mutant[2])
        (folder / f"{name}.v").write_text(text, encoding="utf-8")
    files = " ".join(f"{name}.v" for name in [*names.split(), "top"])
    script = f"""
from pyosys import libyosys as ys
design = ys.Design()
for line in ["read_verilog -I. {files}", "hierarchy -check -top top", "proc -norom", "flatten",
             "opt -full", "check -assert", "sat -verify -prove equal 1 top"]:
    ys.run_pass(line, design)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode == 0:
        assert "SUCCESS!" in done.stdout
        return True
    assert "proof did fail" in done.stdout + done.stderr, done.stdout[-2000:] + done.stderr[-2000:]
    return False
