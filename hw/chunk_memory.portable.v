// Memory with one read and one write port, written in chunks; see hw/memory.py. Synthesis infers
// block RAM with write enables.
//
// The data of a read stand two cycles after the address. A word that is written in the cycle in
// which it is read gives the old contents; with a single port a cycle with a write reads nothing,
// the data stay.
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
    // Two cycles: one in the memory, the other in front of it or behind it.
    reg [WIDTH-1:0] fetched;
    reg [WIDTH-1:0] registered;
    reg [ADDRESS-1:0] place;
    wire [ADDRESS-1:0] reading = REGISTER_ADDRESS != 0 ? place : read_address;
    assign read_data = REGISTER_ADDRESS != 0 ? fetched : registered;
    always @(posedge clk) begin
        place <= read_address;
        registered <= fetched;
    end
    integer index;
    generate
        if (SINGLE_PORT != 0) begin : single
            // Contents of such a memory cannot be given; one address tells synthesis what it is.
            (* ram_style = "huge" *) reg [CHUNKS*CHUNK-1:0] storage [0:DEPTH-1];
            wire [ADDRESS-1:0] address = |write_mask ? write_address : reading;
            always @(posedge clk) begin
                for (index = 0; index < CHUNKS; index = index + 1)
                    if (write_mask[index])
                        storage[address][index*CHUNK +: CHUNK] <= write_data[index*CHUNK +: CHUNK];
                if (!(|write_mask)) fetched <= storage[address][WIDTH-1:0];
            end
        end else begin : dual
            reg [CHUNKS*CHUNK-1:0] storage [0:DEPTH-1];
            initial for (index = 0; index < DEPTH; index = index + 1) storage[index] = 0;
            always @(posedge clk) begin
                fetched <= storage[reading][WIDTH-1:0];
                for (index = 0; index < CHUNKS; index = index + 1)
                    if (write_mask[index])
                        storage[write_address][index*CHUNK +: CHUNK]
                            <= write_data[index*CHUNK +: CHUNK];
            end
        end
    endgenerate
endmodule
