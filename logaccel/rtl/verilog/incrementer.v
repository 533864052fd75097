// Adds or subtracts 2^p, given one-hot, with a chain of half adders instead of full adders.
//
//   sum[i]   = x[i] ^ (onehot[i] | carry[i])        x = word, or ~word to subtract
//   carry[i+1] = x[i] & (onehot[i] | carry[i])      ~(~word + 2^p) = word − 2^p
//
// A one-hot bit and an incoming carry never meet: below bit p there is nothing to carry.
module incrementer #(
    parameter BITS = 25
) (
    input  [BITS-1:0] word,
    input  [BITS-1:0] onehot,  // one bit set, or none
    input             negative,
    output [BITS-1:0] sum
);
    wire [BITS-1:0] x = word ^ {BITS{negative}};
    /* verilator lint_off UNOPTFLAT */
    wire [BITS-1:0] carry;
    /* verilator lint_on UNOPTFLAT */
    wire [BITS-1:0] step = onehot | carry;
    assign carry[0] = 1'b0;
    genvar i;
    generate
        for (i = 1; i < BITS; i = i + 1) begin : half_adder
            assign carry[i] = x[i-1] & step[i-1];
        end
    endgenerate
    assign sum = x ^ step ^ {BITS{negative}};
endmodule
