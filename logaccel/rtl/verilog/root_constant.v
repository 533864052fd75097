// Table of the fixed-point roots of two: K[step] = round(2^(step/B) · 2^constant_bits), at most 8 of them.
module root_constant #(
    parameter LANE_BITS = 1,
    parameter ROOT_BITS = 9,
    parameter [8*ROOT_BITS-1:0] ROOTS = 0  // K[0] in the low bits
) (
    input      [LANE_BITS-1:0] step,
    output reg [ROOT_BITS-1:0] root
);
    integer n;
    always @* begin
        root = ROOTS[ROOT_BITS-1:0];
        for (n = 1; n < (1 << LANE_BITS); n = n + 1)
            if (step == n[LANE_BITS-1:0]) root = ROOTS[n*ROOT_BITS+:ROOT_BITS];
    end
endmodule
