// PE of a weight- or input-stationary array: one operand stays, the other moves right, the psum moves down.
//
//            above_word                     above_psum
//                │                              │
//                [shadow] (OVERLAP)             │
//                [stationary] ──┐               │
//   left ── [moving] ── right   │               │
//                └── product ── D stages ── accumulate ── [psum] ── below
//
// WS: the stationary operand is the weight; IS (DATAFLOW = 2): the activation. Row 0 takes a word while
// `load`; row i + 1 takes iff `load` holds and row i took in the cycle before (`above_took`).
// Serial: `restart` forgets the words of the fold before.
// OVERLAP: words load into the shadow chain, and a stream's first operand carries `swap`: as it enters,
// the shadow becomes the stationary operand. Rows without an operand pass psums through.
module pe_stationary #(
    `include "logaccel_parameters.vh"
) (
    input                      clock,
    input                      reset,
    input                      left_valid,
    input                      left_swap,
    input      [LEFT_BITS-1:0] left_moving,
    output reg                 valid,
    output reg                 swap,
    output reg [LEFT_BITS-1:0] moving,
    input                      load,
    /* verilator lint_off UNUSED */
    input                      restart,  // first cycle of a load
    /* verilator lint_on UNUSED */
    input                      above_took,
    input                      above_loaded,
    input      [ TOP_BITS-1:0] above_word,
    output reg                 took,
    output                     loaded,
    output     [ TOP_BITS-1:0] word,
    input                      above_psum_valid,
    input      [PSUM_BITS-1:0] above_psum,
    output reg                 psum_valid,
    output reg [PSUM_BITS-1:0] psum,
    output                     clipped
);
    wire take = load & above_took & ~reset;
    reg stationary_valid;
    reg [TOP_BITS-1:0] stationary;
    wire usable;  // whether an operand entering now meets a stationary one
    always @(posedge clock) took <= take;

    generate
        if (OVERLAP != 0) begin : overlapped
            reg shadow_valid;
            reg [TOP_BITS-1:0] shadow;
            assign usable = left_swap ? shadow_valid : stationary_valid;
            always @(posedge clock) begin
                if (reset) shadow_valid <= 1'b0;
                else if (take) shadow_valid <= above_loaded;
                else if (left_valid & left_swap) shadow_valid <= 1'b0;
                if (take & above_loaded) shadow <= above_word;
                if (reset) stationary_valid <= 1'b0;
                else if (left_valid & left_swap) stationary_valid <= shadow_valid;
                if (left_valid & left_swap & shadow_valid) stationary <= shadow;
            end
            assign loaded = shadow_valid;
            assign word = shadow;
        end else begin : serial
            assign usable = stationary_valid;
            always @(posedge clock) begin
                if (reset) stationary_valid <= 1'b0;
                else if (take) stationary_valid <= above_loaded;
                else if (restart) stationary_valid <= 1'b0;
                if (take & above_loaded) stationary <= above_word;
            end
            assign loaded = stationary_valid;
            assign word = stationary;
        end
    endgenerate

    wire enter = left_valid & usable;
    always @(posedge clock) begin
        valid <= enter & ~reset;
        if (enter) begin
            swap <= left_swap;
            moving <= left_moving;
        end
    end

    wire stage_valid, stage_live;
    wire [LANE_BITS-1:0] lane;
    wire [TERM_BITS-1:0] term;
    wire [ACT_BITS-1:0] activation;
    wire [WGT_BITS-1:0] weight;
    generate
        if (DATAFLOW == 2) begin : input_stationary
            assign activation = stationary;
            assign weight = moving;
        end else begin : weight_stationary
            assign activation = moving;
            assign weight = stationary;
        end
    endgenerate
    /* verilator lint_off PINCONNECTEMPTY */
    product_pipeline product_pipeline (
        .clock(clock), .reset(reset), .valid(valid), .first(1'b0), .last(1'b0),
        .activation(activation), .weight(weight), .stage_valid(stage_valid), .stage_first(), .stage_last(),
        .stage_live(stage_live), .stage_lane(lane), .stage_term(term)
    );
    /* verilator lint_on PINCONNECTEMPTY */

    wire [PSUM_BITS-1:0] adder_psum, next;
    wire overflow;
    generate
        if (ZERO_GATING != 0) begin : gating
            reg [PSUM_BITS-1:0] held_psum;
            assign adder_psum = stage_live ? above_psum : held_psum;
            always @(posedge clock) begin
                if (reset) held_psum <= {PSUM_BITS{1'b0}};
                else if (stage_live) held_psum <= above_psum;
            end
        end else begin : free_running
            assign adder_psum = above_psum;
        end
    endgenerate
    accumulate accumulate (
        .live(stage_live), .lane(lane), .term(term), .psum(adder_psum), .next(next), .clipped(overflow)
    );
    assign clipped = stage_valid & overflow;
    always @(posedge clock) begin
        psum_valid <= (stage_valid | above_psum_valid) & ~reset;
        if (stage_valid | above_psum_valid) psum <= stage_live ? next : above_psum;
    end
endmodule
