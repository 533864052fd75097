// Output-stationary array: ROWS × COLS of pe_os and one edge register under each column.
//
//              top[0]   top[1] …                 weights, one cycle later per column
//   left[0] ── PE ───── PE ──
//   left[1] ── PE ───── PE ──                    activations, one cycle later per row
//      ⋮       │        │
//             [edge]   [edge]  ── edge_psum      psums on their way to post-processing
//
// `drain` acts on all columns at once (serial) or moves right one column a cycle (OVERLAP).
module array_os #(
    `include "logaccel_parameters.vh"
) (
    input                            clock,
    input                            reset,
    input      [           ROWS-1:0] left_valid,
    input      [           ROWS-1:0] left_first,
    input      [           ROWS-1:0] left_last,
    input      [ ROWS*LEFT_BITS-1:0] left_words,
    input      [           COLS-1:0] top_valid,
    input      [  COLS*TOP_BITS-1:0] top_words,
    input                            drain,
    output reg [           COLS-1:0] edge_valid,
    output reg [ COLS*PSUM_BITS-1:0] edge_psum,
    output     [      ROWS*COLS-1:0] clipped
);
    // What leaves PE(i, j): operands with their flags to the right and down, psums down.
    /* verilator lint_off UNUSED */  // nobody reads what leaves the last row and column
    wire [ROWS*COLS*LEFT_BITS-1:0] activation;
    wire [ROWS*COLS*TOP_BITS-1:0] weight;
    wire [ROWS*COLS-1:0] valid, first, last, below_valid;
    /* verilator lint_on UNUSED */
    wire [ROWS*COLS*PSUM_BITS-1:0] below_psum;

    wire [COLS-1:0] column_drain;
    genvar i, j;
    generate
        for (j = 0; j < COLS; j = j + 1) begin : drain_chain
            if (OVERLAP != 0 && j > 0) begin : skewed
                reg delayed;
                always @(posedge clock) delayed <= column_drain[j-1] & ~reset;
                assign column_drain[j] = delayed;
            end else begin : direct
                assign column_drain[j] = drain;
            end
        end

        for (i = 0; i < ROWS; i = i + 1) begin : row
            for (j = 0; j < COLS; j = j + 1) begin : col
                localparam HERE = i * COLS + j;
                localparam LEFT = (j > 0) ? HERE - 1 : HERE;
                localparam ABOVE = (i > 0) ? HERE - COLS : HERE;
                pe_os pe (
                    .clock(clock),
                    .reset(reset),
                    .left_valid((j > 0) ? valid[LEFT] : left_valid[i]),
                    .left_first((j > 0) ? first[LEFT] : left_first[i]),
                    .left_last((j > 0) ? last[LEFT] : left_last[i]),
                    .left_activation((j > 0) ? activation[LEFT*LEFT_BITS+:LEFT_BITS]
                                             : left_words[i*LEFT_BITS+:LEFT_BITS]),
                    .top_valid((i > 0) ? valid[ABOVE] : top_valid[j]),
                    .top_weight((i > 0) ? weight[ABOVE*TOP_BITS+:TOP_BITS] : top_words[j*TOP_BITS+:TOP_BITS]),
                    .valid(valid[HERE]),
                    .first(first[HERE]),
                    .last(last[HERE]),
                    .activation(activation[HERE*LEFT_BITS+:LEFT_BITS]),
                    .weight(weight[HERE*TOP_BITS+:TOP_BITS]),
                    .drain(column_drain[j]),
                    .above_valid((i > 0) ? below_valid[ABOVE] : 1'b0),
                    .above_psum((i > 0) ? below_psum[ABOVE*PSUM_BITS+:PSUM_BITS] : {PSUM_BITS{1'b0}}),
                    .below_valid(below_valid[HERE]),
                    .below_psum(below_psum[HERE*PSUM_BITS+:PSUM_BITS]),
                    .clipped(clipped[HERE])
                );
            end
        end

        for (j = 0; j < COLS; j = j + 1) begin : edge_register
            localparam BOTTOM = (ROWS - 1) * COLS + j;
            always @(posedge clock) begin
                edge_valid[j] <= below_valid[BOTTOM] & ~reset;
                if (below_valid[BOTTOM])
                    edge_psum[j*PSUM_BITS+:PSUM_BITS] <= below_psum[BOTTOM*PSUM_BITS+:PSUM_BITS];
            end
        end
    endgenerate
endmodule
