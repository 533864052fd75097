// STAGES registers in a row; none where STAGES is 0. `valid` is reset, the word is not.
module delay_line #(
    parameter BITS = 8,
    parameter STAGES = 1
) (
    input             clock,
    input             reset,
    input             valid,
    input  [BITS-1:0] word,
    output            delayed_valid,
    output [BITS-1:0] delayed_word
);
    generate
        if (STAGES == 0) begin : none
            wire unused = &{1'b0, clock, reset};
            assign delayed_valid = valid;
            assign delayed_word = word;
        end else begin : registers
            reg [STAGES-1:0] valids;
            reg [BITS*STAGES-1:0] words;
            integer n;
            always @(posedge clock) begin
                valids[0] <= valid & ~reset;
                words[BITS-1:0] <= word;
                for (n = 1; n < STAGES; n = n + 1) begin
                    valids[n] <= valids[n-1] & ~reset;
                    words[BITS*n+:BITS] <= words[BITS*(n-1)+:BITS];
                end
            end
            assign delayed_valid = valids[STAGES-1];
            assign delayed_word = words[BITS*STAGES-1-:BITS];
        end
    endgenerate
endmodule
