// Sum of two log codes in steps of 1/B octave, for the `decode` and `logsum` PEs.
//
//   activation ─┬─ code << ACT_STEP_SHIFT ─┐
//               │                          + ── + STEP_OFFSET ── steps
//   weight ─────┼─ code << WGT_STEP_SHIFT ─┘
//               └─ both codes non-zero ── live;   sign ^ sign ── negative
module exponent_sum #(
    parameter ACT_BITS = 4,
    parameter ACT_SIGNED = 0,
    parameter ACT_STEP_SHIFT = 0,
    parameter WGT_BITS = 4,
    parameter WGT_SIGNED = 1,
    parameter WGT_STEP_SHIFT = 0,
    parameter STEP_OFFSET = -2,
    parameter STEPS_BITS = 6
) (
    input  [  ACT_BITS-1:0] activation,
    input  [  WGT_BITS-1:0] weight,
    output                  live,
    output                  negative,
    output [STEPS_BITS-1:0] steps
);
    localparam [ACT_BITS-1:0] ACT_MAGNITUDE = (ACT_SIGNED != 0) ? {ACT_BITS{1'b1}} >> 1 : {ACT_BITS{1'b1}};
    localparam [WGT_BITS-1:0] WGT_MAGNITUDE = (WGT_SIGNED != 0) ? {WGT_BITS{1'b1}} >> 1 : {WGT_BITS{1'b1}};
    wire [ACT_BITS-1:0] act_code = activation & ACT_MAGNITUDE;
    wire [WGT_BITS-1:0] wgt_code = weight & WGT_MAGNITUDE;
    assign live = (|act_code) & (|wgt_code);
    assign negative = ((ACT_SIGNED != 0) & activation[ACT_BITS-1]) ^ ((WGT_SIGNED != 0) & weight[WGT_BITS-1]);
    assign steps = ({{(STEPS_BITS - ACT_BITS) {1'b0}}, act_code} << ACT_STEP_SHIFT)
                 + ({{(STEPS_BITS - WGT_BITS) {1'b0}}, wgt_code} << WGT_STEP_SHIFT)
                 + STEP_OFFSET[STEPS_BITS-1:0];
endmodule
