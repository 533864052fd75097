// Encodes an integer into a linear word: shift right by SHIFT + channel_shift (left where negative), nearest with
// ties away from zero, saturating. An unsigned word takes negatives to zero.
//
//   value ── magnitude ── + half ── >> SHIFT ── limit ── sign ── code              CHANNEL_SHIFT_BITS = 0
//   value ── magnitude ── >> SHIFT + channel_shift, one bit more ── + half ── …    otherwise: a barrel shifter
module encoder_linear #(
    parameter VALUE_BITS = 32,
    parameter SHIFT = 4,
    parameter CHANNEL_SHIFT_BITS = 0,
    parameter OUT_BITS = 8,
    parameter OUT_SIGNED = 0
) (
    input  [VALUE_BITS-1:0] value,
    input  [((CHANNEL_SHIFT_BITS > 0) ? CHANNEL_SHIFT_BITS : 1)-1:0] channel_shift,
    output [  OUT_BITS-1:0] code
);
    localparam RIGHT = (SHIFT > 0) ? SHIFT : 0;
    localparam LEFT = (SHIFT < 0) ? -SHIFT : 0;
    localparam WIDER = (VALUE_BITS > OUT_BITS) ? VALUE_BITS : OUT_BITS;
    localparam WIDE_BITS = WIDER + LEFT + RIGHT + 1;
    localparam [WIDE_BITS-1:0] HALF =
        (RIGHT > 0) ? {{(WIDE_BITS - 1) {1'b0}}, 1'b1} << (RIGHT - 1) : {WIDE_BITS{1'b0}};
    localparam MAGNITUDE_BITS = OUT_BITS - ((OUT_SIGNED != 0) ? 1 : 0);
    localparam [WIDE_BITS-1:0] LARGEST =
        ({{(WIDE_BITS - 1) {1'b0}}, 1'b1} << MAGNITUDE_BITS) - {{(WIDE_BITS - 1) {1'b0}}, 1'b1};

    wire negative = value[VALUE_BITS-1];
    wire [VALUE_BITS-1:0] magnitude = (value ^ {VALUE_BITS{negative}}) + {{(VALUE_BITS - 1) {1'b0}}, negative};
    wire [WIDE_BITS-1:0] aligned = {{(WIDE_BITS - VALUE_BITS) {1'b0}}, magnitude} << LEFT;
    wire [WIDE_BITS-1:0] shifted;
    generate
        if (CHANNEL_SHIFT_BITS == 0) begin : by_layer
            wire unused = &{1'b0, channel_shift};
            assign shifted = (aligned + HALF) >> RIGHT;
        end else begin : by_channel
            wire [7:0] amount = RIGHT[7:0] + {{(8 - CHANNEL_SHIFT_BITS) {1'b0}}, channel_shift};
            wire [WIDE_BITS:0] halves = {aligned, 1'b0} >> amount;
            /* verilator lint_off UNUSED */
            wire [WIDE_BITS:0] rounded = halves + {{WIDE_BITS{1'b0}}, 1'b1};
            /* verilator lint_on UNUSED */
            assign shifted = rounded[WIDE_BITS:1];
        end
    endgenerate
    // Two's complement has one more negative code: −(LARGEST + 1).
    wire [WIDE_BITS-1:0] limit = LARGEST + {{(WIDE_BITS - 1) {1'b0}}, negative};
    /* verilator lint_off UNUSED */
    wire [WIDE_BITS-1:0] limited = (shifted > limit) ? limit : shifted;
    /* verilator lint_on UNUSED */
    wire [OUT_BITS-1:0] word = limited[OUT_BITS-1:0];
    generate
        if (OUT_SIGNED != 0) begin : signed_word
            assign code = negative ? ~word + {{(OUT_BITS - 1) {1'b0}}, 1'b1} : word;
        end else begin : unsigned_word
            assign code = word & {OUT_BITS{~negative}};
        end
    endgenerate
endmodule
