// What a mapped netlist has in place of cells: memories of registers, as they behave; see flat.py.

// Yosys' $mem_v2 with one read and one write port: registers that are read at once, or a word after
// a clock edge, the old one where it is written.
module register_file #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter AT_ONCE = 1
) (
    input clk,
    input [ADDRESS-1:0] read_address,
    input read_enable,
    output [WIDTH-1:0] read_data,
    input [ADDRESS-1:0] write_address,
    input [WIDTH-1:0] write_enable,
    input [WIDTH-1:0] write_data
);
    reg [WIDTH-1:0] storage [0:DEPTH-1];
    reg [WIDTH-1:0] fetched = 0;
    integer index;
    initial for (index = 0; index < DEPTH; index = index + 1) storage[index] = 0;
    always @(posedge clk) begin
        if (read_enable) fetched <= storage[read_address];
        if (|write_enable)
            storage[write_address] <=
                (storage[write_address] & ~write_enable) | (write_data & write_enable);
    end
    assign read_data = AT_ONCE != 0 ? storage[read_address] : fetched;
endmodule
