// Product of the `shift` PE (Method 1): a barrel shifter moves the linear word by the log code.
//
//   log ──┬─ sign ─────────────┐
//         ├─ == 0 ───────┐     │
//         └─ + offset ─ u│     │
//              u mod B ──┼─────┼──────────────┬──────────────── lane (bins)
//              u div B ──┼─────┼──────────────┼────────────┐
//   linear ── extend ─ and ─ negate ─ × K[u mod B] (USE_ROOTS) ─ << ─ >>> DROP_BITS ── term
//
// The word is negated before it is shifted, so that dropped bits are floored. Which operand is the
// log one is wired by the parent. PRODUCT_BITS >= the width of the negated (and scaled) word and
// >= DROP_BITS + TERM_BITS.
module product_shift #(
    parameter LINEAR_BITS = 8,
    parameter LINEAR_SIGNED = 1,
    parameter LOG_BITS = 4,
    parameter LOG_SIGNED = 0,
    parameter STEP_SHIFT = 0,  // log2 of the steps per octave, B
    parameter STEP_OFFSET = -1,
    parameter STEPS_BITS = 6,
    parameter USE_ROOTS = 0,
    parameter ROOT_BITS = 1,
    parameter [8*ROOT_BITS-1:0] ROOTS = 1,
    parameter PRODUCT_BITS = 24,
    parameter DROP_BITS = 0,
    parameter LANE_BITS = 1,
    parameter TERM_BITS = 24
) (
    input  [LINEAR_BITS-1:0] linear,
    input  [   LOG_BITS-1:0] log,
    output [  LANE_BITS-1:0] lane,
    output [  TERM_BITS-1:0] term
);
    localparam [LOG_BITS-1:0] MAGNITUDE = (LOG_SIGNED != 0) ? {LOG_BITS{1'b1}} >> 1 : {LOG_BITS{1'b1}};
    localparam WORD_BITS = LINEAR_BITS + 2;
    localparam SCALED_BITS = WORD_BITS + ((USE_ROOTS != 0) ? ROOT_BITS : 0);

    wire [LOG_BITS-1:0] code = log & MAGNITUDE;
    wire negative = (LOG_SIGNED != 0) & log[LOG_BITS-1];
    wire live = |code;
    wire [STEPS_BITS-1:0] steps = {{(STEPS_BITS - LOG_BITS) {1'b0}}, code} + STEP_OFFSET[STEPS_BITS-1:0];
    wire [STEPS_BITS-1:0] octave = steps >> STEP_SHIFT;

    wire sign = (LINEAR_SIGNED != 0) & linear[LINEAR_BITS-1];
    wire [WORD_BITS-1:0] extended = {{2{sign}}, linear} & {WORD_BITS{live}};
    wire [WORD_BITS-1:0] word = (extended ^ {WORD_BITS{negative}}) + {{(WORD_BITS - 1) {1'b0}}, negative};
    wire [SCALED_BITS-1:0] scaled;
    generate
        if (STEP_SHIFT == 0) begin : whole_octaves
            assign lane = {LANE_BITS{1'b0}};
        end else begin : fractional
            assign lane = steps[LANE_BITS-1:0];
        end
        if (USE_ROOTS != 0) begin : roots
            wire [ROOT_BITS-1:0] root;
            root_constant #(
                .LANE_BITS(LANE_BITS),
                .ROOT_BITS(ROOT_BITS),
                .ROOTS(ROOTS)
            ) root_constant (
                .step(lane),
                .root(root)
            );
            wire [SCALED_BITS-1:0] wide_word = {{ROOT_BITS{word[WORD_BITS-1]}}, word};
            assign scaled = wide_word * {{WORD_BITS{1'b0}}, root};
        end else begin : plain
            assign scaled = word;
        end
    endgenerate
    /* verilator lint_off UNUSED */
    wire [PRODUCT_BITS-1:0] shifted =
        {{(PRODUCT_BITS - SCALED_BITS) {scaled[SCALED_BITS-1]}}, scaled} << octave;
    /* verilator lint_on UNUSED */
    assign term = shifted[DROP_BITS+:TERM_BITS];
endmodule
