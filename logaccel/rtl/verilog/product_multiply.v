// Product of the `multiply` PE: an integer multiplier (the baseline).
//
//   activation ──(sign or zero extend)──┐
//                                       × ── >>> DROP_BITS ── term
//   weight ──────(sign or zero extend)──┘
//
// term is two's complement; low bits are dropped by flooring. PRODUCT_BITS is at least
// ACT_BITS + 1, WGT_BITS + 1 and DROP_BITS + TERM_BITS; the product is exact modulo 2^PRODUCT_BITS.
module product_multiply #(
    parameter ACT_BITS = 8,
    parameter ACT_SIGNED = 0,
    parameter WGT_BITS = 8,
    parameter WGT_SIGNED = 1,
    parameter PRODUCT_BITS = 17,
    parameter DROP_BITS = 0,
    parameter TERM_BITS = 17
) (
    input  [ ACT_BITS-1:0] activation,
    input  [ WGT_BITS-1:0] weight,
    output [TERM_BITS-1:0] term
);
    wire act_sign = (ACT_SIGNED != 0) & activation[ACT_BITS-1];
    wire wgt_sign = (WGT_SIGNED != 0) & weight[WGT_BITS-1];
    wire signed [PRODUCT_BITS-1:0] a = {{(PRODUCT_BITS - ACT_BITS) {act_sign}}, activation};
    wire signed [PRODUCT_BITS-1:0] w = {{(PRODUCT_BITS - WGT_BITS) {wgt_sign}}, weight};
    /* verilator lint_off UNUSED */
    wire signed [PRODUCT_BITS-1:0] exact = a * w;  // dropped low bits are not read
    /* verilator lint_on UNUSED */
    assign term = exact[DROP_BITS+:TERM_BITS];
endmodule
