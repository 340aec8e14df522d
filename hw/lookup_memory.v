// Memory with one write port and one read port that answers in the same cycle; see
// hw/lookup_memory.py.
//
// With NEGEDGE_READ a block RAM reads it in the middle of the cycle, for families without
// memories that read asynchronously. Its address must then come from registers, or nearly so.
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
`ifdef NEGEDGE_READ
    (* ram_style = "block" *)
`endif
    reg [WIDTH-1:0] storage [0:DEPTH-1];
    integer index;
    initial for (index = 0; index < DEPTH; index = index + 1) storage[index] = 0;
    always @(posedge clk) if (write_enable) storage[write_address] <= write_data;
`ifdef NEGEDGE_READ
    reg [WIDTH-1:0] fetched;
    always @(negedge clk) fetched <= storage[read_address];
    assign read_data = fetched;
`else
    assign read_data = storage[read_address];
`endif
endmodule
