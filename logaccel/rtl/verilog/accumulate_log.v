// Accumulation in the log domain, dual rail: positive and negative products apart.
//
//   psum = {negative rail, positive rail}, rail = {filled, s}
//   term = {negative, P}
//
//   s ─┬─ max ───────────────────────── + ── limit to ACC_BITS ones ── rail of the term's sign
//   P ─┴─ 2^F >> |s div 2^F − P div 2^F| ┘        └── clipped
//
// An empty rail takes P. The term must be live: the parent keeps psum where a product is zero.
module accumulate_log #(
    parameter ACC_BITS = 16,
    parameter FRACTION_BITS = 8,
    parameter TERM_BITS = 14
) (
    input  [2*ACC_BITS+1:0] psum,
    input  [ TERM_BITS-1:0] term,
    output [2*ACC_BITS+1:0] next,
    output                  clipped
);
    localparam WIDER = (ACC_BITS > TERM_BITS) ? ACC_BITS : TERM_BITS;
    localparam SUM_BITS = ((WIDER > FRACTION_BITS) ? WIDER : FRACTION_BITS) + 2;
    localparam [SUM_BITS-1:0] ONE = {{(SUM_BITS - 1) {1'b0}}, 1'b1} << FRACTION_BITS;

    wire negative = term[TERM_BITS-1];
    wire [SUM_BITS-1:0] p = {{(SUM_BITS - TERM_BITS + 1) {1'b0}}, term[TERM_BITS-2:0]};
    wire [ACC_BITS:0] rail = negative ? psum[2*ACC_BITS+1:ACC_BITS+1] : psum[ACC_BITS:0];
    wire filled = rail[ACC_BITS];
    wire [SUM_BITS-1:0] s = {{(SUM_BITS - ACC_BITS) {1'b0}}, rail[ACC_BITS-1:0]};

    wire larger = s >= p;
    wire [SUM_BITS-1:0] top = larger ? s : p;
    wire [SUM_BITS-1:0] other = larger ? p : s;
    wire [SUM_BITS-1:0] distance = (top >> FRACTION_BITS) - (other >> FRACTION_BITS);
    wire [SUM_BITS-1:0] sum = filled ? top + (ONE >> distance) : p;
    assign clipped = |sum[SUM_BITS-1:ACC_BITS];
    wire [ACC_BITS:0] updated = {1'b1, sum[ACC_BITS-1:0] | {ACC_BITS{clipped}}};
    assign next = negative ? {updated, psum[ACC_BITS:0]} : {psum[2*ACC_BITS+1:ACC_BITS+1], updated};
endmodule
