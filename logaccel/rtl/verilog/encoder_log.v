// Encodes an integer into a log code, sign–magnitude.
//
//   value ── magnitude ── leading one p ── normalise ── the next ROUND_BITS bits, Φ
//                            │                             │ count of THRESHOLDS <= Φ
//                            └── × B (STEP_SHIFT) ───────── + ── + OFFSET − B·channel_shift ── limit ── code
//
// Below the smallest code → zero, above the largest → the largest; an unsigned word takes negatives to zero.
// Each threshold has ROUND_BITS + 1 bits, so that it can lie out of reach (floor, B = 1).
module encoder_log #(
    parameter VALUE_BITS = 32,
    parameter STEP_SHIFT = 0,
    parameter OFFSET = 0,
    parameter CHANNEL_SHIFT_BITS = 0,
    parameter ROUND_BITS = 8,
    parameter THRESHOLD_COUNT = 1,
    parameter [8*(ROUND_BITS+1)-1:0] THRESHOLDS = 0,
    parameter OUT_BITS = 4,
    parameter OUT_SIGNED = 0
) (
    input  [VALUE_BITS-1:0] value,
    input  [((CHANNEL_SHIFT_BITS > 0) ? CHANNEL_SHIFT_BITS : 1)-1:0] channel_shift,
    output [  OUT_BITS-1:0] code
);
    localparam NORMAL_BITS = VALUE_BITS + ROUND_BITS;  // leading one on top, fraction below, never too short
    localparam CODE_BITS = 20;  // |B·p + OFFSET + count| stays far below 2^19
    localparam MAGNITUDE_BITS = OUT_BITS - ((OUT_SIGNED != 0) ? 1 : 0);
    localparam signed [CODE_BITS-1:0] LARGEST =
        ({{(CODE_BITS - 1) {1'b0}}, 1'b1} << MAGNITUDE_BITS) - {{(CODE_BITS - 1) {1'b0}}, 1'b1};

    wire negative = value[VALUE_BITS-1];
    wire [VALUE_BITS-1:0] magnitude = (value ^ {VALUE_BITS{negative}}) + {{(VALUE_BITS - 1) {1'b0}}, negative};

    integer n;
    reg [CODE_BITS-1:0] position;
    always @* begin
        position = {CODE_BITS{1'b0}};
        for (n = 1; n < VALUE_BITS; n = n + 1) if (magnitude[n]) position = n[CODE_BITS-1:0];
    end
    /* verilator lint_off UNUSED */
    wire [NORMAL_BITS-1:0] normal = {magnitude, {ROUND_BITS{1'b0}}} >> position;
    /* verilator lint_on UNUSED */
    wire [ROUND_BITS:0] fraction = {1'b0, normal[ROUND_BITS-1:0]};

    integer m;
    reg [CODE_BITS-1:0] count;
    always @* begin
        count = {CODE_BITS{1'b0}};
        for (m = 0; m < THRESHOLD_COUNT; m = m + 1)
            if (fraction >= THRESHOLDS[m*(ROUND_BITS+1)+:ROUND_BITS+1])
                count = count + {{(CODE_BITS - 1) {1'b0}}, 1'b1};
    end

    wire [CODE_BITS-1:0] offset;
    generate
        if (CHANNEL_SHIFT_BITS == 0) begin : by_layer
            wire unused = &{1'b0, channel_shift};
            assign offset = OFFSET[CODE_BITS-1:0];
        end else begin : by_channel
            assign offset = OFFSET[CODE_BITS-1:0]
                          - ({{(CODE_BITS - CHANNEL_SHIFT_BITS) {1'b0}}, channel_shift} << STEP_SHIFT);
        end
    endgenerate
    wire signed [CODE_BITS-1:0] steps = (position << STEP_SHIFT) + count + offset;
    wire zero = (steps <= 0) | ~(|magnitude) | (negative & (OUT_SIGNED == 0));
    /* verilator lint_off UNUSED */
    wire signed [CODE_BITS-1:0] limited = zero ? {CODE_BITS{1'b0}} : (steps > LARGEST) ? LARGEST : steps;
    /* verilator lint_on UNUSED */
    generate
        if (OUT_SIGNED != 0) begin : signed_word
            assign code = {negative & ~zero, limited[OUT_BITS-2:0]};
        end else begin : unsigned_word
            assign code = limited[OUT_BITS-1:0];
        end
    endgenerate
endmodule
