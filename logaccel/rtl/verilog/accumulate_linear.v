// Linear accumulation: one adder, one word per bin, saturating or wrapping after every product.
//
//   psum ── select lane ──┐
//                         + ── saturate / wrap to ACC_BITS ── back into its lane ── next
//   term ── (± magnitude)─┘              └── clipped
//
// SIGN_MAGNITUDE: term = {negative, magnitude}, otherwise two's complement. INCREMENT: the magnitude is
// one-hot and is added by a chain of half adders.
module accumulate_linear #(
    parameter LANES = 1,
    parameter LANE_BITS = 1,
    parameter ACC_BITS = 24,
    parameter TERM_BITS = 16,
    parameter SIGN_MAGNITUDE = 0,
    parameter INCREMENT = 0,
    parameter SATURATE = 1
) (
    input      [LANES*ACC_BITS-1:0] psum,
    input      [     LANE_BITS-1:0] lane,
    input      [     TERM_BITS-1:0] term,
    output reg [LANES*ACC_BITS-1:0] next,
    output                          clipped
);
    localparam SUM_BITS = ((ACC_BITS > TERM_BITS) ? ACC_BITS : TERM_BITS) + 1;
    reg [ACC_BITS-1:0] selected;
    integer m, n;
    always @* begin
        selected = psum[ACC_BITS-1:0];
        for (m = 1; m < LANES; m = m + 1)
            if (lane == m[LANE_BITS-1:0]) selected = psum[m*ACC_BITS+:ACC_BITS];
    end

    wire [SUM_BITS-1:0] word = {{(SUM_BITS - ACC_BITS) {selected[ACC_BITS-1]}}, selected};
    wire [SUM_BITS-1:0] sum;
    generate
        if (SIGN_MAGNITUDE != 0) begin : sign_magnitude
            wire negative = term[TERM_BITS-1];
            wire [SUM_BITS-1:0] magnitude = {{(SUM_BITS - TERM_BITS + 1) {1'b0}}, term[TERM_BITS-2:0]};
            if (INCREMENT != 0) begin : half_adders
                incrementer #(
                    .BITS(SUM_BITS)
                ) incrementer (
                    .word(word), .onehot(magnitude), .negative(negative), .sum(sum)
                );
            end else begin : adder
                assign sum = word + (magnitude ^ {SUM_BITS{negative}}) + {{(SUM_BITS - 1) {1'b0}}, negative};
            end
        end else begin : twos_complement
            assign sum = word + {{(SUM_BITS - TERM_BITS) {term[TERM_BITS-1]}}, term};
        end
    endgenerate

    wire sign = sum[SUM_BITS-1];
    assign clipped = (sum[SUM_BITS-1:ACC_BITS-1] != {(SUM_BITS - ACC_BITS + 1) {sign}});
    wire [ACC_BITS-1:0] kept =
        (clipped && SATURATE != 0) ? {sign, {(ACC_BITS - 1) {~sign}}} : sum[ACC_BITS-1:0];

    always @* begin
        next = psum;
        for (n = 0; n < LANES; n = n + 1)
            if (LANES == 1 || lane == n[LANE_BITS-1:0]) next[n*ACC_BITS+:ACC_BITS] = kept;
    end
endmodule
