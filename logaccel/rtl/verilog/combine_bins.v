// Combines the bins of one psum: Σ K[j] · bin[j], exact (the only multipliers of a log array, one a column).
module combine_bins #(
    parameter LANES = 2,
    parameter ACC_BITS = 24,
    parameter ROOT_BITS = 9,
    parameter [8*ROOT_BITS-1:0] ROOTS = 0,
    parameter COMBINED_BITS = 36  // at least ACC_BITS and ROOT_BITS + 1
) (
    input      [LANES*ACC_BITS-1:0] psum,
    output reg [ COMBINED_BITS-1:0] combined
);
    integer n;
    reg [COMBINED_BITS-1:0] bin, root;
    always @* begin
        combined = {COMBINED_BITS{1'b0}};
        for (n = 0; n < LANES; n = n + 1) begin
            bin = {{(COMBINED_BITS - ACC_BITS) {psum[n*ACC_BITS+ACC_BITS-1]}}, psum[n*ACC_BITS+:ACC_BITS]};
            root = {{(COMBINED_BITS - ROOT_BITS) {1'b0}}, ROOTS[n*ROOT_BITS+:ROOT_BITS]};
            combined = combined + bin * root;
        end
    end
endmodule
