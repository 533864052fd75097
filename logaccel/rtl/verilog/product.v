// The product of one PE: picks the circuit of the architecture's PE kind.
//
//   activation ─┐                                        ┌─ lane (the bin of a fractional exponent)
//               ├─ multiply | shift | decode | logsum ───┤
//   weight ─────┘                                        └─ term (what is accumulated)
//               └─ neither operand is a zero ── live
module product #(
    `include "logaccel_parameters.vh"
) (
    input  [ ACT_BITS-1:0] activation,
    input  [ WGT_BITS-1:0] weight,
    output                 live,
    output [LANE_BITS-1:0] lane,
    output [TERM_BITS-1:0] term
);
    localparam SHIFT_BY_ACTIVATION = 1, SHIFT_BY_WEIGHT = 2, DECODE = 3, LOGSUM = 4;
    localparam ACT_LOG = (PRODUCT == SHIFT_BY_ACTIVATION || PRODUCT == DECODE || PRODUCT == LOGSUM);
    localparam WGT_LOG = (PRODUCT == SHIFT_BY_WEIGHT || PRODUCT == DECODE || PRODUCT == LOGSUM);
    // The sign bit of a log word says nothing about its being zero.
    localparam [ACT_BITS-1:0] ACT_MASK = {ACT_BITS{1'b1}} >> ((ACT_LOG && ACT_SIGNED != 0) ? 1 : 0);
    localparam [WGT_BITS-1:0] WGT_MASK = {WGT_BITS{1'b1}} >> ((WGT_LOG && WGT_SIGNED != 0) ? 1 : 0);
    assign live = (|(activation & ACT_MASK)) & (|(weight & WGT_MASK));

    generate
        if (PRODUCT == SHIFT_BY_ACTIVATION) begin : shift_by_activation
            product_shift #(
                .LINEAR_BITS(WGT_BITS), .LINEAR_SIGNED(WGT_SIGNED), .LOG_BITS(ACT_BITS), .LOG_SIGNED(ACT_SIGNED),
                .STEP_SHIFT(STEP_SHIFT), .STEP_OFFSET(STEP_OFFSET), .STEPS_BITS(STEPS_BITS),
                .USE_ROOTS(USE_ROOTS), .ROOT_BITS(ROOT_BITS), .ROOTS(ROOTS), .PRODUCT_BITS(PRODUCT_BITS),
                .DROP_BITS(DROP_BITS), .LANE_BITS(LANE_BITS), .TERM_BITS(TERM_BITS)
            ) product (
                .linear(weight), .log(activation), .lane(lane), .term(term)
            );
        end else if (PRODUCT == SHIFT_BY_WEIGHT) begin : shift_by_weight
            product_shift #(
                .LINEAR_BITS(ACT_BITS), .LINEAR_SIGNED(ACT_SIGNED), .LOG_BITS(WGT_BITS), .LOG_SIGNED(WGT_SIGNED),
                .STEP_SHIFT(STEP_SHIFT), .STEP_OFFSET(STEP_OFFSET), .STEPS_BITS(STEPS_BITS),
                .USE_ROOTS(USE_ROOTS), .ROOT_BITS(ROOT_BITS), .ROOTS(ROOTS), .PRODUCT_BITS(PRODUCT_BITS),
                .DROP_BITS(DROP_BITS), .LANE_BITS(LANE_BITS), .TERM_BITS(TERM_BITS)
            ) product (
                .linear(activation), .log(weight), .lane(lane), .term(term)
            );
        end else if (PRODUCT == DECODE) begin : decode
            product_decode #(
                .ACT_BITS(ACT_BITS), .ACT_SIGNED(ACT_SIGNED), .ACT_STEP_SHIFT(ACT_STEP_SHIFT),
                .WGT_BITS(WGT_BITS), .WGT_SIGNED(WGT_SIGNED), .WGT_STEP_SHIFT(WGT_STEP_SHIFT),
                .STEP_SHIFT(STEP_SHIFT), .STEP_OFFSET(STEP_OFFSET), .STEPS_BITS(STEPS_BITS),
                .USE_ROOTS(USE_ROOTS), .ROOT_BITS(ROOT_BITS), .ROOTS(ROOTS), .PRODUCT_BITS(PRODUCT_BITS),
                .DROP_BITS(DROP_BITS), .LANE_BITS(LANE_BITS), .TERM_BITS(TERM_BITS)
            ) product (
                .activation(activation), .weight(weight), .lane(lane), .term(term)
            );
        end else if (PRODUCT == LOGSUM) begin : logsum
            product_logsum #(
                .ACT_BITS(ACT_BITS), .ACT_SIGNED(ACT_SIGNED), .ACT_STEP_SHIFT(ACT_STEP_SHIFT),
                .WGT_BITS(WGT_BITS), .WGT_SIGNED(WGT_SIGNED), .WGT_STEP_SHIFT(WGT_STEP_SHIFT),
                .STEP_SHIFT(STEP_SHIFT), .STEP_OFFSET(STEP_OFFSET), .STEPS_BITS(STEPS_BITS),
                .FRACTION_BITS(FRACTION_BITS), .TERM_BITS(TERM_BITS)
            ) product (
                .activation(activation), .weight(weight), .term(term)
            );
            assign lane = {LANE_BITS{1'b0}};
        end else begin : multiply
            product_multiply #(
                .ACT_BITS(ACT_BITS), .ACT_SIGNED(ACT_SIGNED), .WGT_BITS(WGT_BITS), .WGT_SIGNED(WGT_SIGNED),
                .PRODUCT_BITS(PRODUCT_BITS), .DROP_BITS(DROP_BITS), .TERM_BITS(TERM_BITS)
            ) product (
                .activation(activation), .weight(weight), .term(term)
            );
            assign lane = {LANE_BITS{1'b0}};
        end
    endgenerate
endmodule
