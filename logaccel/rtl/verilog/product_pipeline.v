// The product of a PE and the PIPELINE_STAGES registers between its operand registers and its accumulator.
//
//   activation, weight ── hold (ZERO_GATING) ── product ── [reg] ── … ── [reg] ── lane, term
//   valid, first, last, live ────────────────────────────── [reg] ── … ── [reg] ── stage_*
//
// ZERO_GATING: while an operand is zero the inputs of the product, and so its term, hold their value.
module product_pipeline #(
    `include "logaccel_parameters.vh"
) (
    /* verilator lint_off UNUSED */
    input                  clock,  // no register without stages and gating
    input                  reset,
    /* verilator lint_on UNUSED */
    input                  valid,
    input                  first,
    input                  last,
    input  [ ACT_BITS-1:0] activation,
    input  [ WGT_BITS-1:0] weight,
    output                 stage_valid,
    output                 stage_first,
    output                 stage_last,
    output                 stage_live,
    output [LANE_BITS-1:0] stage_lane,
    output [TERM_BITS-1:0] stage_term
);
    localparam WORD_BITS = LANE_BITS + TERM_BITS;
    wire live;
    wire [ACT_BITS-1:0] product_activation;
    wire [WGT_BITS-1:0] product_weight;
    wire [WORD_BITS-1:0] word;

    generate
        if (ZERO_GATING != 0) begin : gating
            localparam LOGS = (PRODUCT == 3 || PRODUCT == 4) ? 1 : 0;
            localparam [ACT_BITS-1:0] ACT_MASK =
                {ACT_BITS{1'b1}} >> (((LOGS != 0 || PRODUCT == 1) && ACT_SIGNED != 0) ? 1 : 0);
            localparam [WGT_BITS-1:0] WGT_MASK =
                {WGT_BITS{1'b1}} >> (((LOGS != 0 || PRODUCT == 2) && WGT_SIGNED != 0) ? 1 : 0);
            reg [ACT_BITS-1:0] held_activation;
            reg [WGT_BITS-1:0] held_weight;
            assign live = valid & (|(activation & ACT_MASK)) & (|(weight & WGT_MASK));
            assign product_activation = live ? activation : held_activation;
            assign product_weight = live ? weight : held_weight;
            always @(posedge clock) begin
                if (reset) begin
                    held_activation <= {ACT_BITS{1'b0}};
                    held_weight <= {WGT_BITS{1'b0}};
                end else if (live) begin
                    held_activation <= activation;
                    held_weight <= weight;
                end
            end
            /* verilator lint_off PINCONNECTEMPTY */
            product product (
                .activation(product_activation), .weight(product_weight), .live(),
                .lane(word[WORD_BITS-1:TERM_BITS]), .term(word[TERM_BITS-1:0])
            );
            /* verilator lint_on PINCONNECTEMPTY */
        end else begin : free_running
            wire live_product;
            assign live = valid & live_product;
            assign product_activation = activation;
            assign product_weight = weight;
            product product (
                .activation(product_activation), .weight(product_weight), .live(live_product),
                .lane(word[WORD_BITS-1:TERM_BITS]), .term(word[TERM_BITS-1:0])
            );
        end

        if (PIPELINE_STAGES == 0) begin : direct
            assign {stage_valid, stage_first, stage_last, stage_live} = {valid, first, last, live};
            assign {stage_lane, stage_term} = word;
        end else begin : stages
            reg [4*PIPELINE_STAGES-1:0] flags;
            reg [WORD_BITS*PIPELINE_STAGES-1:0] words;
            integer n;
            always @(posedge clock) begin
                flags[3:0] <= reset ? 4'b0 : {valid, first, last, live};
                if ((ZERO_GATING != 0) ? live : valid) words[WORD_BITS-1:0] <= word;
                for (n = 1; n < PIPELINE_STAGES; n = n + 1) begin
                    flags[4*n+:4] <= reset ? 4'b0 : flags[4*(n-1)+:4];
                    if ((ZERO_GATING != 0) ? flags[4*(n-1)] : flags[4*(n-1)+3])
                        words[WORD_BITS*n+:WORD_BITS] <= words[WORD_BITS*(n-1)+:WORD_BITS];
                end
            end
            assign {stage_valid, stage_first, stage_last, stage_live} = flags[4*PIPELINE_STAGES-1-:4];
            assign {stage_lane, stage_term} = words[WORD_BITS*PIPELINE_STAGES-1-:WORD_BITS];
        end
    endgenerate
endmodule
