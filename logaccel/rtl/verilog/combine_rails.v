// Turns the two rails of a log-domain psum linear, 2^(i+f) ≈ (1 + f)·2^i, and subtracts them.
//
//   rail = {filled, s} ── (2^F + s mod 2^F) << (s div 2^F) ── and filled ── positive − negative
module combine_rails #(
    parameter ACC_BITS = 16,
    parameter FRACTION_BITS = 8,
    parameter COMBINED_BITS = 40  // at least FRACTION_BITS + 2; no rail of the layer reaches further
) (
    input  [ 2*ACC_BITS+1:0] psum,
    output [COMBINED_BITS-1:0] combined
);
    localparam WIDE_BITS = ((ACC_BITS > COMBINED_BITS) ? ACC_BITS : COMBINED_BITS) + 1;
    localparam [WIDE_BITS-1:0] ONE = {{(WIDE_BITS - 1) {1'b0}}, 1'b1} << FRACTION_BITS;
    wire [WIDE_BITS-1:0] s[0:1];
    wire [WIDE_BITS-1:0] linear[0:1];
    genvar n;
    generate
        for (n = 0; n < 2; n = n + 1) begin : rail
            assign s[n] = {{(WIDE_BITS - ACC_BITS) {1'b0}}, psum[n*(ACC_BITS+1)+:ACC_BITS]};
            assign linear[n] = psum[n*(ACC_BITS+1)+ACC_BITS]
                ? (ONE | (s[n] & (ONE - {{(WIDE_BITS - 1) {1'b0}}, 1'b1}))) << (s[n] >> FRACTION_BITS)
                : {WIDE_BITS{1'b0}};
        end
    endgenerate
    assign combined = linear[0][COMBINED_BITS-1:0] - linear[1][COMBINED_BITS-1:0];
endmodule
