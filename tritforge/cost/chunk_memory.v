// hw/chunk_memory.v on a memory macro: the register in front of it or behind it, and the macro.
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
    generate
        if (REGISTER_ADDRESS != 0) begin : in_front
            reg [ADDRESS-1:0] place;
            always @(posedge clk) place <= read_address;
            memory_macro #(
                .WIDTH(WIDTH), .CHUNK(CHUNK), .CHUNKS(CHUNKS), .DEPTH(DEPTH), .ADDRESS(ADDRESS),
                .SINGLE_PORT(SINGLE_PORT)) macro (
                .clk(clk), .read_address(place), .read_data(fetched),
                .write_address(write_address), .write_mask(write_mask), .write_data(write_data));
            assign read_data = fetched;
        end else begin : behind
            reg [WIDTH-1:0] registered;
            always @(posedge clk) registered <= fetched;
            memory_macro #(
                .WIDTH(WIDTH), .CHUNK(CHUNK), .CHUNKS(CHUNKS), .DEPTH(DEPTH), .ADDRESS(ADDRESS),
                .SINGLE_PORT(SINGLE_PORT)) macro (
                .clk(clk), .read_address(read_address), .read_data(fetched),
                .write_address(write_address), .write_mask(write_mask), .write_data(write_data));
            assign read_data = registered;
        end
    endgenerate
endmodule

(* blackbox *)
module memory_macro #(
    parameter WIDTH = 32,
    parameter CHUNK = 32,
    parameter CHUNKS = 1,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter SINGLE_PORT = 0
) (
    input clk,
    input [ADDRESS-1:0] read_address,
    output [WIDTH-1:0] read_data,
    input [ADDRESS-1:0] write_address,
    input [CHUNKS-1:0] write_mask,
    input [CHUNKS*CHUNK-1:0] write_data
);
endmodule
