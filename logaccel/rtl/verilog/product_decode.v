// Product of the `decode` PE (Method 2): exponents add, the sum decodes to a one-hot word.
//
//   activation ─┐            ┌─ u mod B ──┬──────────────── lane (bins)
//               exponent_sum ┤            K[u mod B] (USE_ROOTS)
//   weight ─────┘            ├─ u div B ── 1 (or K) << i ── and live ── >> DROP_BITS ── magnitude ┐
//                            └─ negative ─────────────────────────────────────────────────── term ┘
//
// term = {negative, magnitude}: a magnitude truncates, the accumulator adds or subtracts it.
module product_decode #(
    parameter ACT_BITS = 4,
    parameter ACT_SIGNED = 0,
    parameter ACT_STEP_SHIFT = 0,
    parameter WGT_BITS = 4,
    parameter WGT_SIGNED = 1,
    parameter WGT_STEP_SHIFT = 0,
    parameter STEP_SHIFT = 0,
    parameter STEP_OFFSET = -2,
    parameter STEPS_BITS = 6,
    parameter USE_ROOTS = 0,
    parameter ROOT_BITS = 1,
    parameter [8*ROOT_BITS-1:0] ROOTS = 1,
    parameter PRODUCT_BITS = 24,
    parameter DROP_BITS = 0,
    parameter LANE_BITS = 1,
    parameter TERM_BITS = 25
) (
    input  [ ACT_BITS-1:0] activation,
    input  [ WGT_BITS-1:0] weight,
    output [LANE_BITS-1:0] lane,
    output [TERM_BITS-1:0] term
);
    wire live, negative;
    wire [STEPS_BITS-1:0] steps;
    exponent_sum #(
        .ACT_BITS(ACT_BITS), .ACT_SIGNED(ACT_SIGNED), .ACT_STEP_SHIFT(ACT_STEP_SHIFT),
        .WGT_BITS(WGT_BITS), .WGT_SIGNED(WGT_SIGNED), .WGT_STEP_SHIFT(WGT_STEP_SHIFT),
        .STEP_OFFSET(STEP_OFFSET), .STEPS_BITS(STEPS_BITS)
    ) exponent_sum (
        .activation(activation), .weight(weight), .live(live), .negative(negative), .steps(steps)
    );
    wire [STEPS_BITS-1:0] octave = steps >> STEP_SHIFT;
    wire [ROOT_BITS-1:0] root;
    generate
        if (STEP_SHIFT == 0) begin : whole_octaves
            assign lane = {LANE_BITS{1'b0}};
        end else begin : fractional
            assign lane = steps[LANE_BITS-1:0];
        end
        if (USE_ROOTS != 0) begin : roots
            root_constant #(
                .LANE_BITS(LANE_BITS), .ROOT_BITS(ROOT_BITS), .ROOTS(ROOTS)
            ) root_constant (
                .step(lane), .root(root)
            );
        end else begin : one
            assign root = {{(ROOT_BITS - 1) {1'b0}}, 1'b1};
        end
    endgenerate
    /* verilator lint_off UNUSED */
    wire [PRODUCT_BITS-1:0] shifted =
        {{(PRODUCT_BITS - ROOT_BITS) {1'b0}}, root & {ROOT_BITS{live}}} << octave;
    /* verilator lint_on UNUSED */
    assign term = {negative & live, shifted[DROP_BITS+:TERM_BITS-1]};
endmodule
