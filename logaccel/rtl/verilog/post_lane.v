// Post-processing of one array column: one word a cycle, latency POST_STAGES.
//
//   psum ── combine bins / rails ── [reg] ── + bias ── ReLU ── [reg] ── encoder ── [reg] ── … ── code
//                                 STAGES >= 2               STAGES >= 3         STAGES >= 1   the rest
//
// `combined` and its address and valid show the psum after the first part. The bias word is read, by
// combined_bias_address, in the cycle in which the bias is added: {s, bias} with CHANNEL_SHIFT_BITS of s, by which
// the encoder takes LSBs 2^s finer than the layer's. No word can overflow.
module post_lane #(
    `include "logaccel_parameters.vh"
) (
    input                           clock,
    input                           reset,
    input                           valid,
    input  [ OFMAP_ADDRESS_BITS-1:0] address,
    input  [  BIAS_ADDRESS_BITS-1:0] bias_address,
    input  [          PSUM_BITS-1:0] psum,
    output                          combined_valid,
    output [ OFMAP_ADDRESS_BITS-1:0] combined_address,
    output [  BIAS_ADDRESS_BITS-1:0] combined_bias_address,
    output [      COMBINED_BITS-1:0] combined,
    input  [     BIAS_WORD_BITS-1:0] bias_word,
    output                          code_valid,
    output [ OFMAP_ADDRESS_BITS-1:0] code_address,
    output [           OUT_BITS-1:0] code
);
    localparam LOGSUM = 4;
    localparam AFTER_COMBINE = (POST_STAGES >= 2) ? 1 : 0;
    localparam AFTER_RELU = (POST_STAGES >= 3) ? 1 : 0;
    localparam AFTER_ENCODER = POST_STAGES - AFTER_COMBINE - AFTER_RELU;
    localparam SHIFT_BITS = (CHANNEL_SHIFT_BITS > 0) ? CHANNEL_SHIFT_BITS : 1;
    localparam CARRIED_BITS = POST_BITS + CHANNEL_SHIFT_BITS;

    wire [COMBINED_BITS-1:0] word;
    generate
        if (PRODUCT == LOGSUM) begin : rails
            combine_rails #(
                .ACC_BITS(ACC_BITS), .FRACTION_BITS(FRACTION_BITS), .COMBINED_BITS(COMBINED_BITS)
            ) combine (
                .psum(psum), .combined(word)
            );
        end else if (LANES > 1) begin : binned
            combine_bins #(
                .LANES(LANES), .ACC_BITS(ACC_BITS), .ROOT_BITS(ROOT_BITS), .ROOTS(ROOTS),
                .COMBINED_BITS(COMBINED_BITS)
            ) combine (
                .psum(psum), .combined(word)
            );
        end else begin : plain
            assign word = {{(COMBINED_BITS - ACC_BITS) {psum[ACC_BITS-1]}}, psum};
        end
    endgenerate

    delay_line #(
        .BITS(OFMAP_ADDRESS_BITS + BIAS_ADDRESS_BITS + COMBINED_BITS), .STAGES(AFTER_COMBINE)
    ) after_combine (
        .clock(clock), .reset(reset), .valid(valid), .word({address, bias_address, word}),
        .delayed_valid(combined_valid), .delayed_word({combined_address, combined_bias_address, combined})
    );

    wire [BIAS_BITS-1:0] bias = bias_word[BIAS_BITS-1:0];
    wire [POST_BITS-1:0] sum = {{(POST_BITS - COMBINED_BITS) {combined[COMBINED_BITS-1]}}, combined}
                             + {{(POST_BITS - BIAS_BITS) {bias[BIAS_BITS-1]}}, bias};
    wire [POST_BITS-1:0] rectified = sum & {POST_BITS{(RELU == 0) | ~sum[POST_BITS-1]}};
    wire value_valid;
    wire [OFMAP_ADDRESS_BITS-1:0] value_address;
    wire [POST_BITS-1:0] value;
    wire [CARRIED_BITS-1:0] carried, delayed;  // {s, value}
    wire [SHIFT_BITS-1:0] channel_shift;
    generate
        if (CHANNEL_SHIFT_BITS == 0) begin : by_layer
            assign carried = rectified;
            assign channel_shift = 1'b0;
        end else begin : by_channel
            assign carried = {bias_word[BIAS_WORD_BITS-1:BIAS_BITS], rectified};
            assign channel_shift = delayed[CARRIED_BITS-1:POST_BITS];
        end
    endgenerate
    assign value = delayed[POST_BITS-1:0];
    delay_line #(
        .BITS(OFMAP_ADDRESS_BITS + CARRIED_BITS), .STAGES(AFTER_RELU)
    ) after_relu (
        .clock(clock), .reset(reset), .valid(combined_valid), .word({combined_address, carried}),
        .delayed_valid(value_valid), .delayed_word({value_address, delayed})
    );

    wire [OUT_BITS-1:0] encoded;
    generate
        if (OUT_LOG != 0) begin : to_log
            encoder_log #(
                .VALUE_BITS(POST_BITS), .STEP_SHIFT(OUT_STEP_SHIFT), .OFFSET(ENCODE_OFFSET),
                .CHANNEL_SHIFT_BITS(CHANNEL_SHIFT_BITS),
                .ROUND_BITS(ROUND_BITS), .THRESHOLD_COUNT(THRESHOLD_COUNT), .THRESHOLDS(THRESHOLDS),
                .OUT_BITS(OUT_BITS), .OUT_SIGNED(OUT_SIGNED)
            ) encoder (
                .value(value), .channel_shift(channel_shift), .code(encoded)
            );
        end else begin : to_linear
            encoder_linear #(
                .VALUE_BITS(POST_BITS), .SHIFT(ENCODE_SHIFT), .CHANNEL_SHIFT_BITS(CHANNEL_SHIFT_BITS),
                .OUT_BITS(OUT_BITS), .OUT_SIGNED(OUT_SIGNED)
            ) encoder (
                .value(value), .channel_shift(channel_shift), .code(encoded)
            );
        end
    endgenerate
    delay_line #(
        .BITS(OFMAP_ADDRESS_BITS + OUT_BITS), .STAGES(AFTER_ENCODER)
    ) after_encoder (
        .clock(clock), .reset(reset), .valid(value_valid), .word({value_address, encoded}),
        .delayed_valid(code_valid), .delayed_word({code_address, code})
    );
endmodule
