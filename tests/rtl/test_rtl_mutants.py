"""One fault in each module of the Verilog: the comparison must notice every one."""

import shutil

import pytest
import rtl_cases

from logaccel.errors import ConfigError
from logaccel.rtl import bench

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("icarus")]

SEEDS = range(120)  # a mutant is caught by the first case that uses what it breaks
MUTANTS = {
    "accelerator": ("& {PSUM_BITS{psum_valid[j]}}", "& {PSUM_BITS{1'b0}}"),
    "accumulate": ("assign next = live ? sum : psum;", "assign next = sum;"),
    "accumulate_linear": ("{sign, {(ACC_BITS - 1) {~sign}}}", "{sign, {(ACC_BITS - 1) {1'b1}}}"),
    "accumulate_log": ("wire larger = s >= p;", "wire larger = 1'b1;"),
    "array_os": ("always @(posedge clock) delayed <= column_drain[j-1] & ~reset;",
                 "always @* delayed = column_drain[j-1] & ~reset;"),
    "array_stationary": ("took[ABOVE] & ~load_first[j]", "took[ABOVE]"),
    "collector": ("rows - 1 - position", "position"),
    "combine_bins": ("for (n = 0; n < LANES;", "for (n = 1; n < LANES;"),
    "combine_rails": ("linear[0][COMBINED_BITS-1:0] - linear[1]", "linear[0][COMBINED_BITS-1:0] + linear[1]"),
    "delay_line": ("for (n = 1; n < STAGES;", "for (n = 2; n < STAGES;"),
    "encoder_linear": ("+ HALF) >> RIGHT", ") >> RIGHT"),
    "encoder_log": ("} >> position;", "} >> (position + 1);"),
    "exponent_sum": ("+ STEP_OFFSET[STEPS_BITS-1:0]", ""),
    "fold_controller": ("~next_continues | (after >= ROWS + 2)", "1'b1"),
    "incrementer": ("(word[i] ^ negative) & step", "word[i] & step"),
    "memory": ("if (write) words[write_address] <= write_word;",
               "if (write) words[write_address ^ 1'b1] <= write_word;"),
    "operand_feed": ("this_count > n[COUNT_BITS-1:0]", "this_count >= n[COUNT_BITS-1:0]"),
    "pe_os": ("shadow_moving | drain", "drain"),
    "pe_stationary": ("left_swap ? shadow_valid : stationary_valid", "stationary_valid"),
    "post_lane": ("(RELU == 0) |", "(RELU != 0) |"),
    "product": ("{WGT_BITS{1'b1}} >> ((WGT_LOG", "{WGT_BITS{1'b1}} << ((WGT_LOG"),
    "product_decode": ("{negative & live,", "{1'b0,"),
    "product_logsum": ("(FRACTION_BITS - STEP_SHIFT)", "FRACTION_BITS"),
    "product_multiply": ("(WGT_SIGNED != 0) & weight[WGT_BITS-1]", "1'b0"),
    "product_pipeline": ("for (n = 1; n < PIPELINE_STAGES;", "for (n = 2; n < PIPELINE_STAGES;"),
    "product_shift": ("{(WORD_BITS - 1) {1'b0}}, negative};", "{(WORD_BITS - 1) {1'b0}}, 1'b0};"),
    "encoder_linear by channel": ("RIGHT[7:0] + ", "RIGHT[7:0] - "),
    "encoder_log by channel": ("- ({{(CODE_BITS - CHANNEL_SHIFT_BITS)", "+ ({{(CODE_BITS - CHANNEL_SHIFT_BITS)"),
    "post_lane by channel": ("delayed[CARRIED_BITS-1:POST_BITS]", "bias_word[BIAS_WORD_BITS-1:BIAS_BITS]"),
    "root_constant": ("n < (1 << LANE_BITS)", "n < (1 << LANE_BITS) - 1"),
}  # fmt: skip


def test_every_module_has_a_mutant():
    names = {path.stem for path in bench.verilog_folder().glob("*.v")}
    assert names - {what.split()[0] for what in MUTANTS} == {"bench"}


@pytest.mark.parametrize("what", MUTANTS)
def test_a_mutant_is_caught(what, tmp_path, monkeypatch):
    """The unchanged machine passes these cases in test_rtl_layers."""
    folder = shutil.copytree(bench.verilog_folder(), tmp_path / "verilog")
    source = folder / f"{what.split()[0]}.v"
    old, new = MUTANTS[what]
    text = source.read_text(encoding="utf-8")
    assert old in text
    source.write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(bench, "verilog_folder", lambda: folder)
    for seed in SEEDS:
        try:
            rtl_cases.check(rtl_cases.random_case(seed))
        except (AssertionError, ConfigError) as error:
            if "exit code" in str(error):  # a mutant must build
                raise
            return
    pytest.fail(f"no case noticed the mutant of {what}")
