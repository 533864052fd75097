// Says where each psum that leaves column 0 belongs; the other columns use the same tags, delayed.
//
//   fold memory (second read port) ── the fold whose psums are leaving
//   edge_valid ── position 0 … count − 1 ── addresses;  after the last one: the next fold
//
// OS: psums leave bottom row first, address = ofmap + rows − 1 − position. WS, IS: in stream order.
// IS: a channel each cycle, so the bias address moves with the position.
module collector #(
    `include "logaccel_parameters.vh"
) (
    input                            clock,
    input                            reset,
    input      [               31:0] fold_count,
    input      [               31:0] stream_length,
    output     [FOLD_ADDRESS_BITS-1:0] fold_address,
    /* verilator lint_off UNUSED */
    input      [      FOLD_BITS-1:0] fold_word,  // operand addresses are the controller's
    /* verilator lint_on UNUSED */
    input                            edge_valid,
    output                           final_slice,
    output [  PSUM_ADDRESS_BITS-1:0] psum_address,
    output [ OFMAP_ADDRESS_BITS-1:0] ofmap_address,
    output [  BIAS_ADDRESS_BITS-1:0] bias_address,
    output                           finished
);
    localparam OFMAP_AT = ROW_BITS + COL_BITS + 2 + LEFT_ADDRESS_BITS + TOP_ADDRESS_BITS;
    wire [31:0] rows = {{(32 - ROW_BITS) {1'b0}}, fold_word[0+:ROW_BITS]};
    wire [OFMAP_ADDRESS_BITS-1:0] ofmap = fold_word[OFMAP_AT+:OFMAP_ADDRESS_BITS];
    wire [BIAS_ADDRESS_BITS-1:0] bias = fold_word[OFMAP_AT+OFMAP_ADDRESS_BITS+:BIAS_ADDRESS_BITS];
    assign final_slice = fold_word[ROW_BITS+COL_BITS+1];

    reg [31:0] index, position;
    wire [31:0] count = (DATAFLOW == 0) ? rows : stream_length;
    wire leaves_last = edge_valid & (position + 1 == count);
    wire [31:0] upcoming = leaves_last ? index + 1 : index;
    assign fold_address = upcoming[FOLD_ADDRESS_BITS-1:0];
    always @(posedge clock) begin
        index <= reset ? 32'd0 : upcoming;
        if (reset | leaves_last) position <= 32'd0;
        else if (edge_valid) position <= position + 1;
    end

    /* verilator lint_off UNUSED */
    wire [31:0] offset = (DATAFLOW == 0) ? rows - 1 - position : position;
    /* verilator lint_on UNUSED */
    assign psum_address = position[PSUM_ADDRESS_BITS-1:0];
    assign ofmap_address = ofmap + offset[OFMAP_ADDRESS_BITS-1:0];
    assign bias_address = bias + ((DATAFLOW == 2) ? position[BIAS_ADDRESS_BITS-1:0] : {BIAS_ADDRESS_BITS{1'b0}});
    assign finished = index == fold_count;
endmodule
