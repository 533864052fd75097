// Test bench of one layer, for Icarus and Verilator (--binary): loads the memory images, runs, writes down
// every psum with its cycle, every ofmap word, clipped accumulations, cycles. It never steers the machine.
`timescale 1ns / 1ps
module bench #(
    `include "logaccel_parameters.vh"
);
    `include "logaccel_layer.vh"

    reg clock, reset, start, fold_write, left_write, top_write, bias_write;
    reg [31:0] address;
    reg [FOLD_BITS-1:0] fold_image[0:FOLD_COUNT-1];
    reg [ROWS*LEFT_BITS-1:0] left_image[0:LEFT_WORDS-1];
    reg [COLS*TOP_BITS-1:0] top_image[0:TOP_WORDS-1];
    reg [COLS*BIAS_WORD_BITS-1:0] bias_image[0:BIAS_WORDS-1];
    wire [COLS*OUT_BITS-1:0] ofmap_words;
    wire done;
    wire [31:0] cycles;
    wire [COLS-1:0] combined_valid;
    wire [COLS*OFMAP_ADDRESS_BITS-1:0] combined_address;
    wire [COLS*COMBINED_BITS-1:0] combined;
    wire [ROWS*COLS-1:0] clipped;

    accelerator dut (
        .clock(clock), .reset(reset), .start(start), .fold_count(FOLD_COUNT), .stream_length(STREAM_LENGTH),
        .host_fold_write(fold_write), .host_left_write(left_write), .host_top_write(top_write),
        .host_bias_write(bias_write), .host_address(address),
        .host_fold_word(fold_image[address < FOLD_COUNT ? address : 0]),
        .host_left_words(left_image[address < LEFT_WORDS ? address : 0]),
        .host_top_words(top_image[address < TOP_WORDS ? address : 0]),
        .host_bias_words(bias_image[address < BIAS_WORDS ? address : 0]),
        .host_ofmap_words(ofmap_words), .done(done), .cycles(cycles), .combined_valid(combined_valid),
        .combined_address(combined_address), .combined(combined), .clipped(clipped)
    );

    integer file, n, i, j, psum_count, clipped_count, waited;
`ifdef LOGACCEL_WAVEFORM
    initial begin
        $dumpfile("waveform.vcd");
        `include "logaccel_waveform.vh"
    end
`endif
    initial clock = 1'b0;
    always #5 clock = ~clock;

    always @(negedge clock) begin  // all registers are settled
        for (n = 0; n < COLS; n = n + 1)
            if (!reset && combined_valid[n]) begin
                psum_count = psum_count + 1;
                $fdisplay(file, "psum %0d %0d %b %0d", n, combined_address[n*OFMAP_ADDRESS_BITS+:OFMAP_ADDRESS_BITS],
                          combined[n*COMBINED_BITS+:COMBINED_BITS], dut.cycle);
            end
        if (!reset) for (n = 0; n < ROWS * COLS; n = n + 1) if (clipped[n]) clipped_count = clipped_count + 1;
    end

    initial begin
        file = $fopen("result.txt", "w");
        $readmemh("fold.hex", fold_image);
        $readmemh("left.hex", left_image);
        $readmemh("top.hex", top_image);
        $readmemh("bias.hex", bias_image);
        psum_count = 0;
        clipped_count = 0;
        {reset, start, fold_write, left_write, top_write, bias_write} = 6'b100000;
        address = 0;
        repeat (4) @(posedge clock);
        #1 reset = 1'b0;
        for (i = 0; i < LONGEST_IMAGE; i = i + 1) begin
            address = i;
            fold_write = i < FOLD_COUNT;
            left_write = i < LEFT_WORDS;
            top_write = i < TOP_WORDS;
            bias_write = i < BIAS_WORDS;
            @(posedge clock);
            #1;
        end
        {fold_write, left_write, top_write, bias_write} = 4'b0000;
        repeat (4) @(posedge clock);
        #1 start = 1'b1;
        @(posedge clock);
        #1 start = 1'b0;
        waited = 0;
        while (!done && waited < LIMIT_CYCLES) begin
            @(posedge clock);
            #1 waited = waited + 1;
        end
        if (!done) $fdisplay(file, "hung");
        for (i = 0; i < OFMAP_WORDS; i = i + 1) begin
            address = i;
            @(posedge clock);
            #1;
            for (j = 0; j < COLS; j = j + 1)
                $fdisplay(file, "ofmap %0d %0d %b", j, i, ofmap_words[j*OUT_BITS+:OUT_BITS]);
        end
        $fdisplay(file, "psums %0d", psum_count);
        $fdisplay(file, "clipped %0d", clipped_count);
        $fdisplay(file, "cycles %0d", cycles);
        $fclose(file);
        $finish;
    end
endmodule
