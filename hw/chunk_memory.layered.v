// Memory with one read and one write port, written in chunks; see hw/memory.py. What stores the
// words is a module of its own.
//
// The data of a read stand two cycles after the address: one is the storage's, the other that of a
// register in front of it or behind it.
module chunk_memory #(
    parameter WIDTH = 32,
    parameter CHUNK = 32,
    parameter CHUNKS = 1,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter SINGLE_PORT = 0,
    parameter REGISTER_ADDRESS = 0
) (
    input clk,
    input [ADDRESS-1:0] read_address,
    output [WIDTH-1:0] read_data,
    input [ADDRESS-1:0] write_address,
    input [CHUNKS-1:0] write_mask,
    input [CHUNKS*CHUNK-1:0] write_data
);
    wire [WIDTH-1:0] fetched;
    reg [WIDTH-1:0] registered;
    reg [ADDRESS-1:0] place;
    assign read_data = REGISTER_ADDRESS != 0 ? fetched : registered;
    always @(posedge clk) begin
        place <= read_address;
        registered <= fetched;
    end
    chunk_memory_storage #(
        .WIDTH(WIDTH), .CHUNK(CHUNK), .CHUNKS(CHUNKS), .DEPTH(DEPTH), .ADDRESS(ADDRESS),
        .SINGLE_PORT(SINGLE_PORT)
    ) storage (
        .clk(clk), .read_address(REGISTER_ADDRESS != 0 ? place : read_address),
        .read_data(fetched), .write_address(write_address), .write_mask(write_mask),
        .write_data(write_data));
endmodule
