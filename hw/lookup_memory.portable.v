// Memory with one write port and one read port that answers in the same cycle; see
// hw/lookup_memory.py.
module lookup_memory #(
    parameter WIDTH = 32,
    parameter DEPTH = 2,
    parameter ADDRESS = 1
) (
    input clk,
    input [ADDRESS-1:0] read_address,
    output [WIDTH-1:0] read_data,
    input write_enable,
    input [ADDRESS-1:0] write_address,
    input [WIDTH-1:0] write_data
);
    reg [WIDTH-1:0] storage [0:DEPTH-1];
    integer index;
    initial for (index = 0; index < DEPTH; index = index + 1) storage[index] = 0;
    always @(posedge clk) if (write_enable) storage[write_address] <= write_data;
    assign read_data = storage[read_address];
endmodule
