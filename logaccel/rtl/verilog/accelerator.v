// The accelerator: operand memories, array, post-processing lanes, ofmap memory and their controller.
//
//                 fold memory ── fold_controller ── commands
//                                     │
//                                top feed (COLS banks)      psum memory (WS, IS: raw psums of the K slice before)
//                                     │                        │ ▲
//   left feed (ROWS banks) ── array_os / array_stationary ─────┘ │
//                                     │ edge: raw psums ─────────┤
//                                     └── post_lane × COLS (bias file) ── ofmap memory (COLS banks)
//
// A host writes the memories (one address of all banks a cycle), gives `start` for one cycle, waits for
// `done` and reads the ofmap. `cycles` is the layer's total: from the first load (WS, IS) or operand in
// PE(0, 0) (OS) until the last code stands at the end of its lane.
module accelerator #(
    `include "logaccel_parameters.vh"
) (
    input                                clock,
    input                                reset,
    input                                start,
    input      [                   31:0] fold_count,
    input      [                   31:0] stream_length,
    input                                host_fold_write,
    input                                host_left_write,
    input                                host_top_write,
    input                                host_bias_write,
    /* verilator lint_off UNUSED */
    input      [                   31:0] host_address,
    /* verilator lint_on UNUSED */
    input      [          FOLD_BITS-1:0] host_fold_word,
    input      [     ROWS*LEFT_BITS-1:0] host_left_words,
    input      [      COLS*TOP_BITS-1:0] host_top_words,
    input      [COLS*BIAS_WORD_BITS-1:0] host_bias_words,
    output     [      COLS*OUT_BITS-1:0] host_ofmap_words,
    output                               done,
    output reg [                   31:0] cycles,
    output     [               COLS-1:0] combined_valid,
    output     [COLS*OFMAP_ADDRESS_BITS-1:0] combined_address,
    output     [ COLS*COMBINED_BITS-1:0] combined,
    output     [          ROWS*COLS-1:0] clipped
);
    wire [FOLD_ADDRESS_BITS-1:0] controller_address, collector_address;
    wire [FOLD_BITS-1:0] controller_word, collector_word;
    memory #(.BITS(FOLD_BITS), .ADDRESS_BITS(FOLD_ADDRESS_BITS)) controller_folds (
        .clock(clock), .write(host_fold_write), .write_address(host_address[FOLD_ADDRESS_BITS-1:0]),
        .write_word(host_fold_word), .read(1'b1), .read_address(controller_address), .read_word(controller_word)
    );
    memory #(.BITS(FOLD_BITS), .ADDRESS_BITS(FOLD_ADDRESS_BITS)) collector_folds (
        .clock(clock), .write(host_fold_write), .write_address(host_address[FOLD_ADDRESS_BITS-1:0]),
        .write_word(host_fold_word), .read(1'b1), .read_address(collector_address), .read_word(collector_word)
    );

    wire left_command, first, last, load_command, load_first, drain, psum_command, cycle_zero;
    wire [LEFT_ADDRESS_BITS-1:0] left_address;
    wire [TOP_ADDRESS_BITS-1:0] top_address;
    wire [PSUM_ADDRESS_BITS-1:0] psum_address;
    wire [ROW_BITS-1:0] rows;
    wire [COL_BITS-1:0] top_cols, psum_cols;
    fold_controller fold_controller (
        .clock(clock), .reset(reset), .start(start), .fold_count(fold_count), .stream_length(stream_length),
        .fold_address(controller_address), .fold_word(controller_word), .left_command(left_command),
        .first(first), .last(last), .left_address(left_address), .rows(rows), .load_command(load_command),
        .load_first(load_first), .top_address(top_address), .top_cols(top_cols), .drain(drain),
        .psum_command(psum_command), .psum_address(psum_address), .psum_cols(psum_cols), .cycle_zero(cycle_zero)
    );

    /* verilator lint_off UNUSED */
    wire [ROWS-1:0] left_active;
    wire [COLS-1:0] top_active, top_first;
    /* verilator lint_on UNUSED */
    wire [ROWS-1:0] left_valid;
    wire [COLS-1:0] top_valid;
    wire [2*ROWS-1:0] left_flags;
    wire [ROWS*LEFT_BITS-1:0] left_words;
    wire [COLS*TOP_BITS-1:0] top_words;
    operand_feed #(
        .LANES(ROWS), .SKEWED(1), .BITS(LEFT_BITS), .ADDRESS_BITS(LEFT_ADDRESS_BITS), .COUNT_BITS(ROW_BITS),
        .FLAG_BITS(2)
    ) left_feed (
        .clock(clock), .reset(reset), .write({ROWS{host_left_write}}),
        .write_address({ROWS{host_address[LEFT_ADDRESS_BITS-1:0]}}), .write_word(host_left_words),
        .command(left_command), .flags({last, first}), .address(left_address), .count(rows),
        .active(left_active), .valid(left_valid), .lane_flags(left_flags), .words(left_words)
    );
    operand_feed #(
        .LANES(COLS), .SKEWED(1), .BITS(TOP_BITS), .ADDRESS_BITS(TOP_ADDRESS_BITS), .COUNT_BITS(COL_BITS),
        .FLAG_BITS(1)
    ) top_feed (
        .clock(clock), .reset(reset), .write({COLS{host_top_write}}),
        .write_address({COLS{host_address[TOP_ADDRESS_BITS-1:0]}}), .write_word(host_top_words),
        .command((DATAFLOW == 0) ? left_command : load_command), .flags(load_first), .address(top_address),
        .count(top_cols), .active(top_active), .valid(top_valid), .lane_flags(top_first), .words(top_words)
    );

    wire [COLS-1:0] edge_valid;
    wire [COLS*PSUM_BITS-1:0] edge_psum;
    wire final_slice, finished;
    wire [PSUM_ADDRESS_BITS-1:0] collected_psum_address;
    wire [OFMAP_ADDRESS_BITS-1:0] collected_ofmap_address;
    wire [BIAS_ADDRESS_BITS-1:0] collected_bias_address;
    collector collector (
        .clock(clock), .reset(reset), .fold_count(fold_count), .stream_length(stream_length),
        .fold_address(collector_address), .fold_word(collector_word), .edge_valid(edge_valid[0]),
        .final_slice(final_slice), .psum_address(collected_psum_address), .ofmap_address(collected_ofmap_address),
        .bias_address(collected_bias_address), .finished(finished)
    );
    localparam TAG_BITS = 1 + PSUM_ADDRESS_BITS + OFMAP_ADDRESS_BITS + BIAS_ADDRESS_BITS;
    wire [COLS*TAG_BITS-1:0] tags;
    wire [COLS*PSUM_ADDRESS_BITS-1:0] edge_psum_address;
    wire [COLS-1:0] edge_final;

    genvar i, j;
    generate
        if (DATAFLOW == 0) begin : output_stationary
            wire [ROWS-1:0] left_first, left_last;
            for (i = 0; i < ROWS; i = i + 1) begin : flags
                assign left_first[i] = left_flags[2*i];
                assign left_last[i] = left_flags[2*i+1];
            end
            wire unused = &{1'b0, psum_command, psum_address, psum_cols, edge_psum_address, load_command};
            array_os array (
                .clock(clock), .reset(reset), .left_valid(left_valid), .left_first(left_first),
                .left_last(left_last), .left_words(left_words), .top_valid(top_valid), .top_words(top_words),
                .drain(drain), .edge_valid(edge_valid), .edge_psum(edge_psum), .clipped(clipped)
            );
        end else begin : stationary
            wire [ROWS-1:0] left_swap;
            for (i = 0; i < ROWS; i = i + 1) begin : flags
                wire unused_last = left_flags[2*i+1];
                assign left_swap[i] = left_flags[2*i];
            end
            wire unused = &{1'b0, drain};
            /* verilator lint_off UNUSED */
            wire [COLS-1:0] psum_active, psum_flags;
            /* verilator lint_on UNUSED */
            wire [COLS-1:0] psum_valid;
            wire [COLS*PSUM_BITS-1:0] psum_words, top_psum;
            operand_feed #(
                .LANES(COLS), .SKEWED(1), .BITS(PSUM_BITS), .ADDRESS_BITS(PSUM_ADDRESS_BITS),
                .COUNT_BITS(COL_BITS), .FLAG_BITS(1)
            ) psum_memory (
                .clock(clock), .reset(reset), .write(edge_valid & ~edge_final),
                .write_address(edge_psum_address), .write_word(edge_psum),
                .command(psum_command), .flags(1'b0), .address(psum_address), .count(psum_cols),
                .active(psum_active), .valid(psum_valid), .lane_flags(psum_flags), .words(psum_words)
            );
            for (j = 0; j < COLS; j = j + 1) begin : top
                assign top_psum[j*PSUM_BITS+:PSUM_BITS] =
                    psum_words[j*PSUM_BITS+:PSUM_BITS] & {PSUM_BITS{psum_valid[j]}};
            end
            array_stationary array (
                .clock(clock), .reset(reset), .left_valid(left_valid), .left_swap(left_swap),
                .left_words(left_words), .load(top_active), .load_first(top_first), .top_valid(top_valid),
                .top_words(top_words), .top_psum_valid(psum_valid), .top_psum(top_psum),
                .edge_valid(edge_valid), .edge_psum(edge_psum), .clipped(clipped)
            );
        end
    endgenerate

    wire [COLS-1:0] code_valid;
    generate
        for (j = 0; j < COLS; j = j + 1) begin : lane
            if (j > 0 && (DATAFLOW != 0 || OVERLAP != 0)) begin : skewed
                reg [TAG_BITS-1:0] tag;
                always @(posedge clock) tag <= tags[(j-1)*TAG_BITS+:TAG_BITS];
                assign tags[j*TAG_BITS+:TAG_BITS] = tag;
            end else begin : direct
                assign tags[j*TAG_BITS+:TAG_BITS] =
                    {final_slice, collected_psum_address, collected_ofmap_address, collected_bias_address};
            end
            wire [OFMAP_ADDRESS_BITS-1:0] ofmap_address, code_address;
            wire [BIAS_ADDRESS_BITS-1:0] bias_address, combined_bias_address;
            assign {edge_final[j], edge_psum_address[j*PSUM_ADDRESS_BITS+:PSUM_ADDRESS_BITS], ofmap_address,
                    bias_address} = tags[j*TAG_BITS+:TAG_BITS];

            reg [BIAS_WORD_BITS-1:0] biases[0:(1<<BIAS_ADDRESS_BITS)-1];
            always @(posedge clock)
                if (host_bias_write)
                    biases[host_address[BIAS_ADDRESS_BITS-1:0]] <= host_bias_words[j*BIAS_WORD_BITS+:BIAS_WORD_BITS];

            wire [OUT_BITS-1:0] code;
            post_lane post_lane (
                .clock(clock), .reset(reset), .valid(edge_valid[j] & edge_final[j]), .address(ofmap_address),
                .bias_address(bias_address), .psum(edge_psum[j*PSUM_BITS+:PSUM_BITS]),
                .combined_valid(combined_valid[j]),
                .combined_address(combined_address[j*OFMAP_ADDRESS_BITS+:OFMAP_ADDRESS_BITS]),
                .combined_bias_address(combined_bias_address),
                .combined(combined[j*COMBINED_BITS+:COMBINED_BITS]), .bias_word(biases[combined_bias_address]),
                .code_valid(code_valid[j]), .code_address(code_address), .code(code)
            );
            memory #(.BITS(OUT_BITS), .ADDRESS_BITS(OFMAP_ADDRESS_BITS)) ofmap (
                .clock(clock), .write(code_valid[j]), .write_address(code_address), .write_word(code),
                .read(done), .read_address(host_address[OFMAP_ADDRESS_BITS-1:0]),
                .read_word(host_ofmap_words[j*OUT_BITS+:OUT_BITS])
            );
        end
    endgenerate

    // The columns and the lanes still hold psums when the last one has left column 0.
    localparam [31:0] FLUSH_CYCLES = COLS + POST_STAGES + 1;
    reg [31:0] cycle, flush;
    always @(posedge clock) begin
        cycle <= cycle_zero ? 32'd0 : cycle + 1;
        if (|code_valid) cycles <= cycle;
        if (reset | ~finished) flush <= 32'd0;
        else if (~done) flush <= flush + 1;
    end
    assign done = flush == FLUSH_CYCLES;
endmodule
