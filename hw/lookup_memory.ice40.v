// Memory with one write port and one read port that answers in the same cycle; see
// hw/lookup_memory.py.
//
// An iCE40 has no memory that reads without a clock: a block RAM is read at the falling edge. Its
// address must come from registers, or nearly so: it has to stand by then.
module lookup_memory #(
    parameter WIDTH = 32,
    parameter DEPTH = 2,
    parameter ADDRESS = 1
) (
    input clk,
    input [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data,
    input write_enable,
    input [ADDRESS-1:0] write_address,
    input [WIDTH-1:0] write_data
);
    (* ram_style = "block" *) reg [WIDTH-1:0] storage [0:DEPTH-1];
    integer index;
    initial for (index = 0; index < DEPTH; index = index + 1) storage[index] = 0;
    always @(posedge clk) if (write_enable) storage[write_address] <= write_data;
    always @(negedge clk) read_data <= storage[read_address];
endmodule
