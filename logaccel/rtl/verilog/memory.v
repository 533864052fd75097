// Memory with one write port and one read port; the word read stands in the output register a cycle later.
module memory #(
    parameter BITS = 8,
    parameter ADDRESS_BITS = 4
) (
    input                         clock,
    input                         write,
    input      [ADDRESS_BITS-1:0] write_address,
    input      [        BITS-1:0] write_word,
    input                         read,
    input      [ADDRESS_BITS-1:0] read_address,
    output reg [        BITS-1:0] read_word
);
    reg [BITS-1:0] words[0:(1<<ADDRESS_BITS)-1];
    always @(posedge clock) begin
        if (write) words[write_address] <= write_word;
        if (read) read_word <= words[read_address];
    end
endmodule
