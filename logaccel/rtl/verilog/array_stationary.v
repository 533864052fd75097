// Weight- or input-stationary array: ROWS × COLS of pe_stationary.
//
//              top[0]   top[1] …    stationary words (while `load`) and raw psums of the K slice before
//   left[0] ── PE ───── PE ──
//   left[1] ── PE ───── PE ──       moving operands, one cycle later per row
//      ⋮       │        │
//            edge_psum: the bottom psum registers
//
// The feed delays load and words one cycle per column.
module array_stationary #(
    `include "logaccel_parameters.vh"
) (
    input                       clock,
    input                       reset,
    input  [          ROWS-1:0] left_valid,
    input  [          ROWS-1:0] left_swap,
    input  [ROWS*LEFT_BITS-1:0] left_words,
    input  [          COLS-1:0] load,
    input  [          COLS-1:0] load_first,
    input  [          COLS-1:0] top_valid,
    input  [ COLS*TOP_BITS-1:0] top_words,
    input  [          COLS-1:0] top_psum_valid,
    input  [COLS*PSUM_BITS-1:0] top_psum,
    output [          COLS-1:0] edge_valid,
    output [COLS*PSUM_BITS-1:0] edge_psum,
    output [     ROWS*COLS-1:0] clipped
);
    /* verilator lint_off UNUSED */  // nobody reads what leaves the last row and column
    wire [ROWS*COLS-1:0] valid, swap, took, loaded, psum_valid;
    wire [ROWS*COLS*LEFT_BITS-1:0] moving;
    wire [ROWS*COLS*TOP_BITS-1:0] word;
    /* verilator lint_on UNUSED */
    wire [ROWS*COLS*PSUM_BITS-1:0] psum;

    genvar i, j;
    generate
        for (i = 0; i < ROWS; i = i + 1) begin : row
            for (j = 0; j < COLS; j = j + 1) begin : col
                localparam HERE = i * COLS + j;
                localparam LEFT = (j > 0) ? HERE - 1 : HERE;
                localparam ABOVE = (i > 0) ? HERE - COLS : HERE;
                pe_stationary pe (
                    .clock(clock),
                    .reset(reset),
                    .left_valid((j > 0) ? valid[LEFT] : left_valid[i]),
                    .left_swap((j > 0) ? swap[LEFT] : left_swap[i]),
                    .left_moving((j > 0) ? moving[LEFT*LEFT_BITS+:LEFT_BITS] : left_words[i*LEFT_BITS+:LEFT_BITS]),
                    .valid(valid[HERE]),
                    .swap(swap[HERE]),
                    .moving(moving[HERE*LEFT_BITS+:LEFT_BITS]),
                    .load(load[j]),
                    .restart(load[j] & load_first[j]),
                    .above_took((i > 0) ? took[ABOVE] & ~load_first[j] : 1'b1),
                    .above_loaded((i > 0) ? loaded[ABOVE] : top_valid[j]),
                    .above_word((i > 0) ? word[ABOVE*TOP_BITS+:TOP_BITS] : top_words[j*TOP_BITS+:TOP_BITS]),
                    .took(took[HERE]),
                    .loaded(loaded[HERE]),
                    .word(word[HERE*TOP_BITS+:TOP_BITS]),
                    .above_psum_valid((i > 0) ? psum_valid[ABOVE] : top_psum_valid[j]),
                    .above_psum((i > 0) ? psum[ABOVE*PSUM_BITS+:PSUM_BITS] : top_psum[j*PSUM_BITS+:PSUM_BITS]),
                    .psum_valid(psum_valid[HERE]),
                    .psum(psum[HERE*PSUM_BITS+:PSUM_BITS]),
                    .clipped(clipped[HERE])
                );
            end
        end
    endgenerate
    assign edge_valid = psum_valid[ROWS*COLS-1-:COLS];
    assign edge_psum = psum[ROWS*COLS*PSUM_BITS-1-:COLS*PSUM_BITS];
endmodule
