// PE of an output-stationary array: the psum stays, the activation moves right, the weight moves down.
//
//          top_weight                      above_psum
//              │                               │
//   left ── [activation] ── right        (drain: serial chain of the accumulators, or of the shadows)
//              │ [weight]                      │
//              └── product ── D stages ── accumulate ── [acc] ── (OVERLAP: [shadow]) ── below_psum
//                                             └───────────┘
//
// An operand pair is registered only where both came: PEs outside the fold's rows and columns stay idle.
// Serial: `drain` shifts the accumulators down one row a cycle. OVERLAP: the finished psum goes to the
// shadow at `last`; the column's one-cycle `drain` pulse makes every loaded shadow moving, and a moving
// one goes down a row each cycle. The schedule keeps loads and moving psums apart.
module pe_os #(
    `include "logaccel_parameters.vh"
) (
    input                      clock,
    input                      reset,
    input                      left_valid,
    input                      left_first,
    input                      left_last,
    input      [ ACT_BITS-1:0] left_activation,
    input                      top_valid,
    input      [ WGT_BITS-1:0] top_weight,
    output reg                 valid,
    output reg                 first,
    output reg                 last,
    output reg [ ACT_BITS-1:0] activation,
    output reg [ WGT_BITS-1:0] weight,
    input                      drain,
    input                      above_valid,
    input      [PSUM_BITS-1:0] above_psum,
    output                     below_valid,
    output     [PSUM_BITS-1:0] below_psum,
    output                     clipped
);
    wire take = left_valid & top_valid;
    always @(posedge clock) begin
        valid <= take & ~reset;
        if (take) begin
            first <= left_first;
            last <= left_last;
            activation <= left_activation;
            weight <= top_weight;
        end
    end

    wire stage_valid, stage_first, stage_last, stage_live;
    wire [LANE_BITS-1:0] lane;
    wire [TERM_BITS-1:0] term;
    product_pipeline product_pipeline (
        .clock(clock), .reset(reset), .valid(valid), .first(first), .last(last),
        .activation(activation), .weight(weight), .stage_valid(stage_valid), .stage_first(stage_first),
        .stage_last(stage_last), .stage_live(stage_live), .stage_lane(lane), .stage_term(term)
    );

    reg [PSUM_BITS-1:0] acc;
    wire [PSUM_BITS-1:0] next;
    wire overflow;
    // Gated: the adder's input changes with a live term only; a first term that is not live clears below.
    wire clear = stage_first & (stage_live | (ZERO_GATING == 0));
    accumulate accumulate (
        .live(stage_live), .lane(lane), .term(term), .psum(acc & {PSUM_BITS{~clear}}),
        .next(next), .clipped(overflow)
    );
    wire [PSUM_BITS-1:0] result = next & {PSUM_BITS{stage_live | ~stage_first}};
    assign clipped = stage_valid & overflow;

    generate
        if (OVERLAP != 0) begin : overlapped
            reg shadow_valid, shadow_moving;
            reg [PSUM_BITS-1:0] shadow;
            wire finish = stage_valid & stage_last;
            wire go = shadow_valid & (shadow_moving | drain);
            always @(posedge clock) begin
                if (stage_valid) acc <= result;
                if (reset) shadow_valid <= 1'b0;
                else if (finish | above_valid | go) shadow_valid <= finish | above_valid;
                if (finish | above_valid) begin
                    shadow <= finish ? result : above_psum;
                    shadow_moving <= ~finish;
                end
            end
            assign below_valid = go;
            assign below_psum = shadow;
        end else begin : serial
            reg acc_valid;
            always @(posedge clock) begin
                if (reset) acc_valid <= 1'b0;
                else if (stage_valid & stage_last) acc_valid <= 1'b1;
                else if (drain) acc_valid <= above_valid;
                if (stage_valid) acc <= result;
                else if (drain & above_valid) acc <= above_psum;
            end
            assign below_valid = acc_valid & drain;
            assign below_psum = acc;
        end
    endgenerate
endmodule
