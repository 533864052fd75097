// Adds or subtracts 2^p, given one-hot, with a chain of half adders instead of full adders.
//
//   sum[i]     = x[i] ^ (onehot[i] | carry[i])      x = word, or ~word to subtract
//   carry[i+1] = x[i] & (onehot[i] | carry[i])      ~(~word + 2^p) = word − 2^p
//
// A one-hot bit and an incoming carry never meet: below bit p there is nothing to carry.
module incrementer #(
    parameter BITS = 25
) (
    input      [BITS-1:0] word,
    input      [BITS-1:0] onehot,  // one bit set, or none
    input                 negative,
    output reg [BITS-1:0] sum
);
    integer i;
    reg step, carry;
    always @* begin
        carry = 1'b0;
        for (i = 0; i < BITS; i = i + 1) begin
            step = onehot[i] | carry;
            sum[i] = word[i] ^ step;  // negated twice: the sum bit's own inversions cancel
            carry = (word[i] ^ negative) & step;
        end
    end
endmodule
