// One accumulation of a PE: psum and term in, the next psum out. Combinational.
//
//   psum ─┬───────────────────────────────┐
//         └─ accumulate_linear | _log ── enable ? ── next
//   term, lane ─┘                            └────── clipped
//
// A term that is not live leaves psum as it is: it would add 0 (linear), or has no logarithm (logsum).
module accumulate #(
    `include "logaccel_parameters.vh"
) (
    input                   live,
    /* verilator lint_off UNUSED */
    input  [ LANE_BITS-1:0] lane,  // bins only
    /* verilator lint_on UNUSED */
    input  [ TERM_BITS-1:0] term,
    input  [ PSUM_BITS-1:0] psum,
    output [ PSUM_BITS-1:0] next,
    output                  clipped
);
    localparam DECODE = 3, LOGSUM = 4;
    wire [PSUM_BITS-1:0] sum;
    wire overflow;
    generate
        if (PRODUCT == LOGSUM) begin : logarithmic
            accumulate_log #(
                .ACC_BITS(ACC_BITS), .FRACTION_BITS(FRACTION_BITS), .TERM_BITS(TERM_BITS)
            ) accumulate (
                .psum(psum), .term(term), .next(sum), .clipped(overflow)
            );
        end else begin : linear
            accumulate_linear #(
                .LANES(LANES), .LANE_BITS(LANE_BITS), .ACC_BITS(ACC_BITS), .TERM_BITS(TERM_BITS),
                .SIGN_MAGNITUDE((PRODUCT == DECODE) ? 1 : 0), .INCREMENT(INCREMENT), .SATURATE(SATURATE)
            ) accumulate (
                .psum(psum), .lane(lane), .term(term), .next(sum), .clipped(overflow)
            );
        end
    endgenerate
    assign next = live ? sum : psum;
    assign clipped = live & overflow;
endmodule
