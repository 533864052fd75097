// A row of memory banks at one edge of the array, one bank a lane, read in step with the wavefront.
//
//   command ─┬──────── [reg] ─┬──────── [reg] ─┬── …     SKEWED: one lane later each cycle
//          bank 0           bank 1           bank 2       otherwise all lanes read together
//            │                │                │
//         word[0]          word[1]          word[2]       a cycle after the lane's command
//
// A command reads `address` in the first `count` lanes; the flags reach every lane with it.
module operand_feed #(
    parameter LANES = 4,
    parameter SKEWED = 1,
    parameter BITS = 8,
    parameter ADDRESS_BITS = 4,
    parameter COUNT_BITS = 3,
    parameter FLAG_BITS = 2
) (
    input                           clock,
    input                           reset,
    input  [             LANES-1:0] write,
    input  [LANES*ADDRESS_BITS-1:0] write_address,
    input  [        LANES*BITS-1:0] write_word,
    input                           command,
    input  [         FLAG_BITS-1:0] flags,
    input  [      ADDRESS_BITS-1:0] address,
    input  [        COUNT_BITS-1:0] count,
    output [             LANES-1:0] active,  // a command reached the lane
    output [             LANES-1:0] valid,   // and read a word
    output [   LANES*FLAG_BITS-1:0] lane_flags,
    output [        LANES*BITS-1:0] words
);
    localparam COMMAND_BITS = FLAG_BITS + ADDRESS_BITS + COUNT_BITS;
    wire [LANES-1:0] lane_command;
    wire [LANES*COMMAND_BITS-1:0] lane_word;
    genvar n;
    generate
        for (n = 0; n < LANES; n = n + 1) begin : lane
            localparam BEFORE = (n > 0) ? n - 1 : 0;
            if (SKEWED != 0 && n > 0) begin : skewed
                delay_line #(
                    .BITS(COMMAND_BITS), .STAGES(1)
                ) step (
                    .clock(clock), .reset(reset),
                    .valid(lane_command[BEFORE]), .word(lane_word[BEFORE*COMMAND_BITS+:COMMAND_BITS]),
                    .delayed_valid(lane_command[n]), .delayed_word(lane_word[n*COMMAND_BITS+:COMMAND_BITS])
                );
            end else begin : direct
                assign lane_command[n] = command;
                assign lane_word[n*COMMAND_BITS+:COMMAND_BITS] = {flags, address, count};
            end
            wire [FLAG_BITS-1:0] these_flags;
            wire [ADDRESS_BITS-1:0] this_address;
            wire [COUNT_BITS-1:0] this_count;
            assign {these_flags, this_address, this_count} = lane_word[n*COMMAND_BITS+:COMMAND_BITS];
            wire read = lane_command[n] & (this_count > n[COUNT_BITS-1:0]);
            memory #(
                .BITS(BITS), .ADDRESS_BITS(ADDRESS_BITS)
            ) bank (
                .clock(clock), .write(write[n]), .write_address(write_address[n*ADDRESS_BITS+:ADDRESS_BITS]),
                .write_word(write_word[n*BITS+:BITS]), .read(read), .read_address(this_address),
                .read_word(words[n*BITS+:BITS])
            );
            reg active_lane, valid_lane;
            reg [FLAG_BITS-1:0] flags_lane;
            always @(posedge clock) begin
                active_lane <= lane_command[n] & ~reset;
                valid_lane <= read & ~reset;
                flags_lane <= these_flags;
            end
            assign active[n] = active_lane;
            assign valid[n] = valid_lane;
            assign lane_flags[n*FLAG_BITS+:FLAG_BITS] = flags_lane;
        end
    endgenerate
endmodule
