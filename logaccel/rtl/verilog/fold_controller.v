// Runs the list of folds: issues read commands to the operand feeds, loads, swaps and drains.
//
//   fold memory ── the next fold ── launch ── stream: left_command … T cycles ──→ left feed (OS: top feed too)
//                                   trigger ── load: load_command … r cycles ──→ top feed (WS, IS)
//                                   drain (OS),  psum_command (WS, IS, later K slices)
//
// A command runs two cycles before its word stands in PE(0, 0): memory, then the PE's register. WS and IS
// decide on a stream one cycle earlier still, so that its load, triggered by it, can begin in the same cycle.
// `age` counts cycles since the decision on the current fold's stream took effect, `elapsed` those since the
// load of the next fold was triggered.
// rows, cols, addresses: of the fold; a fold word is {bias, ofmap, top, left address, final, continues, cols, rows}.
module fold_controller #(
    `include "logaccel_parameters.vh"
) (
    input                               clock,
    input                               reset,
    input                               start,
    input      [                  31:0] fold_count,
    input      [                  31:0] stream_length,
    output     [ FOLD_ADDRESS_BITS-1:0] fold_address,
    /* verilator lint_off UNUSED */
    input      [         FOLD_BITS-1:0] fold_word,  // post-processing addresses are the collector's
    /* verilator lint_on UNUSED */
    output                              left_command,
    output                              first,
    output                              last,
    output     [ LEFT_ADDRESS_BITS-1:0] left_address,
    output     [          ROW_BITS-1:0] rows,
    output reg                          load_command,
    output reg                          load_first,
    output reg [  TOP_ADDRESS_BITS-1:0] top_address,
    output reg [          COL_BITS-1:0] top_cols,
    output                              drain,
    output                              psum_command,
    output     [ PSUM_ADDRESS_BITS-1:0] psum_address,
    output     [          COL_BITS-1:0] psum_cols,
    output                              cycle_zero  // the next cycle is cycle 0 of the layer
);
    wire [ROW_BITS-1:0] next_rows = fold_word[0+:ROW_BITS];
    wire [COL_BITS-1:0] next_cols = fold_word[ROW_BITS+:COL_BITS];
    wire next_continues = fold_word[ROW_BITS+COL_BITS];
    wire [LEFT_ADDRESS_BITS-1:0] next_left = fold_word[ROW_BITS+COL_BITS+2+:LEFT_ADDRESS_BITS];
    wire [TOP_ADDRESS_BITS-1:0] next_top = fold_word[ROW_BITS+COL_BITS+2+LEFT_ADDRESS_BITS+:TOP_ADDRESS_BITS];

    reg running, fresh;  // fresh: no fold has been launched
    reg [31:0] index, age;
    wire launch;
    wire [31:0] upcoming = launch ? index + 1 : index;
    assign fold_address = upcoming[FOLD_ADDRESS_BITS-1:0];
    wire have_next = running & (index < fold_count);
    wire [31:0] after = age + 1;

    reg streaming, stream_first, stream_last;
    reg [LEFT_ADDRESS_BITS-1:0] stream_address;
    reg [ROW_BITS-1:0] stream_rows;
    reg [COL_BITS-1:0] cols;
    reg [31:0] t;
    /* verilator lint_off UNUSED */  // which of them count depends on DATAFLOW and OVERLAP
    wire [31:0] wide_rows = {{(32 - ROW_BITS) {1'b0}}, stream_rows};
    wire [31:0] wide_cols = {{(32 - COL_BITS) {1'b0}}, cols};
    wire [31:0] wide_next_rows = {{(32 - ROW_BITS) {1'b0}}, next_rows};
    /* verilator lint_on UNUSED */

    always @(posedge clock) begin
        if (reset) begin
            running <= 1'b0;
            fresh <= 1'b1;
            index <= 32'd0;
            age <= 32'd0;
            streaming <= 1'b0;
        end else begin
            if (start) running <= 1'b1;
            index <= upcoming;
            age <= launch ? 32'd0 : after;
            if (launch) begin
                fresh <= 1'b0;
                streaming <= 1'b1;
                stream_first <= 1'b1;
                stream_last <= (stream_length == 1);
                t <= 32'd0;
                stream_rows <= next_rows;
                cols <= next_cols;
                stream_address <= next_left;
            end else if (streaming) begin
                streaming <= ~stream_last;
                stream_first <= 1'b0;
                stream_last <= (t + 2 == stream_length);
                t <= t + 1;
                stream_address <= stream_address + 1'b1;
            end
        end
    end

    generate
        if (DATAFLOW == 0) begin : output_stationary
            assign {left_command, first, last} = {streaming, stream_first, stream_last};
            assign {left_address, rows} = {stream_address, stream_rows};
            always @(posedge clock) begin
                load_command <= 1'b0;
                load_first <= 1'b0;
                if (launch) begin
                    top_address <= next_top;
                    top_cols <= next_cols;
                end else if (streaming) top_address <= top_address + 1'b1;
            end
            wire unused = &{1'b0, next_continues, fresh};
            assign psum_command = 1'b0;
            assign psum_address = {PSUM_ADDRESS_BITS{1'b0}};
            assign psum_cols = {COL_BITS{1'b0}};

            reg [1:0] first_launched;
            always @(posedge clock) first_launched <= reset ? 2'b0 : {first_launched[0], launch & fresh};
            assign cycle_zero = first_launched[1];

            if (OVERLAP != 0) begin : overlapped
                // The pulse follows the last command after rows + PIPELINE_STAGES + 2 cycles.
                assign launch = have_next & (fresh | (after >= stream_length && after >= wide_rows));
                reg [ROWS+PIPELINE_STAGES+1:0] pulse;
                integer n;
                always @(posedge clock) begin
                    for (n = 0; n < ROWS + PIPELINE_STAGES + 2; n = n + 1)
                        pulse[n] <= ~reset & (((n < ROWS + PIPELINE_STAGES + 1)
                                               ? pulse[(n < ROWS + PIPELINE_STAGES + 1) ? n + 1 : n] : 1'b0)
                                 | (streaming & stream_last & (wide_rows + PIPELINE_STAGES + 1 == n)));
                end
                assign drain = pulse[0];
            end else begin : serial
                // The array is done `skew` cycles after the last operand entered it, then drains ROWS rows.
                wire [31:0] busy = stream_length + wide_rows + wide_cols + PIPELINE_STAGES - 2;
                assign launch = have_next & (fresh | (after == busy + ROWS));
                reg [1:0] finished;  // commands run two cycles ahead of the array
                reg pending;
                reg [31:0] draining;
                always @(posedge clock) begin
                    pending <= ~reset & (launch | (pending & (after != busy)));
                    finished <= reset ? 2'b0 : {finished[0], pending & (after == busy)};
                    if (reset) draining <= 32'd0;
                    else if (finished[1]) draining <= ROWS;
                    else if (draining != 0) draining <= draining - 1;
                end
                assign drain = draining != 0;
            end
        end else begin : stationary
            reg begun, launched, load_started, continues;
            reg [31:0] elapsed, load_left;
            wire trigger;
            wire [31:0] waited = trigger ? 32'd1 : elapsed + 1;
            wire [31:0] leave = stream_length + ROWS + wide_cols + PIPELINE_STAGES - 2;
            // A raw psum is written in one cycle and read in the next by the following K slice.
            wire apart = fresh | (((OVERLAP == 0) | (after >= stream_length))
                                  & (~next_continues | (after >= ROWS + 2)));
            assign launch = have_next & (trigger | begun) & (waited >= wide_next_rows) & apart;
            assign trigger = have_next & (fresh ? ~load_started : (OVERLAP != 0) ? launched : ~begun & (age == leave));
            reg [1:0] first_load;
            always @(posedge clock) begin
                if (reset) begin
                    begun <= 1'b0;
                    launched <= 1'b0;
                    load_started <= 1'b0;
                    load_command <= 1'b0;
                    first_load <= 2'b0;
                end else begin
                    begun <= (begun | trigger) & ~launch;
                    launched <= launch;
                    first_load <= {first_load[0], trigger & ~load_started};
                    load_started <= load_started | trigger;
                    elapsed <= waited;
                    if (trigger) begin
                        load_command <= 1'b1;
                        load_first <= 1'b1;
                        load_left <= wide_next_rows - 1;
                        top_address <= next_top;
                        top_cols <= next_cols;
                    end else if (load_command) begin
                        load_command <= load_left != 0;
                        load_first <= 1'b0;
                        load_left <= load_left - 1;
                        top_address <= top_address + 1'b1;
                    end
                    if (launch) continues <= next_continues;
                end
            end
            delay_line #(
                .BITS(2 + LEFT_ADDRESS_BITS + ROW_BITS), .STAGES(1)
            ) stream_delay (
                .clock(clock), .reset(reset), .valid(streaming),
                .word({stream_first, stream_last, stream_address, stream_rows}),
                .delayed_valid(left_command), .delayed_word({first, last, left_address, rows})
            );
            assign cycle_zero = first_load[1];
            assign drain = 1'b0;
            delay_line #(
                .BITS(PSUM_ADDRESS_BITS + COL_BITS), .STAGES(PIPELINE_STAGES + 2)
            ) psum_delay (
                .clock(clock), .reset(reset), .valid(streaming & continues),
                .word({t[PSUM_ADDRESS_BITS-1:0], cols}),
                .delayed_valid(psum_command), .delayed_word({psum_address, psum_cols})
            );
        end
    endgenerate
endmodule
