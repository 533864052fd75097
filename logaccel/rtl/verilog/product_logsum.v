// Product of the `logsum` PE: exponents add and stay a logarithm with FRACTION_BITS fraction bits.
//
//   activation ─┐             ┌─ steps << (FRACTION_BITS − STEP_SHIFT) ── P ┐
//               exponent_sum ─┤                                            term = {negative, P}
//   weight ─────┘             └─ negative ──────────────────────────────────┘
module product_logsum #(
    parameter ACT_BITS = 4,
    parameter ACT_SIGNED = 0,
    parameter ACT_STEP_SHIFT = 0,
    parameter WGT_BITS = 4,
    parameter WGT_SIGNED = 1,
    parameter WGT_STEP_SHIFT = 0,
    parameter STEP_SHIFT = 0,
    parameter STEP_OFFSET = -2,
    parameter STEPS_BITS = 6,
    parameter FRACTION_BITS = 8,
    parameter TERM_BITS = 14
) (
    input  [ ACT_BITS-1:0] activation,
    input  [ WGT_BITS-1:0] weight,
    output [TERM_BITS-1:0] term
);
    localparam WIDE_BITS = (TERM_BITS > STEPS_BITS) ? TERM_BITS : STEPS_BITS + 1;
    wire live, negative;
    wire [STEPS_BITS-1:0] steps;
    exponent_sum #(
        .ACT_BITS(ACT_BITS), .ACT_SIGNED(ACT_SIGNED), .ACT_STEP_SHIFT(ACT_STEP_SHIFT),
        .WGT_BITS(WGT_BITS), .WGT_SIGNED(WGT_SIGNED), .WGT_STEP_SHIFT(WGT_STEP_SHIFT),
        .STEP_OFFSET(STEP_OFFSET), .STEPS_BITS(STEPS_BITS)
    ) exponent_sum (
        .activation(activation), .weight(weight), .live(live), .negative(negative), .steps(steps)
    );
    /* verilator lint_off UNUSED */
    wire [WIDE_BITS-1:0] logarithm = {{(WIDE_BITS - STEPS_BITS) {1'b0}}, steps} << (FRACTION_BITS - STEP_SHIFT);
    /* verilator lint_on UNUSED */
    assign term = {negative & live, logarithm[TERM_BITS-2:0] & {(TERM_BITS - 1) {live}}};
endmodule
