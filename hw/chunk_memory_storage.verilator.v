// Storage of a chunk_memory for Verilator: one assignment of the whole word, which is much faster
// there than write enables, and a back door.
//
// A read that collides with a write gives the old contents; their complement with
// UNDEFINED_COLLISIONS. Collisions are reads of the word that is written, with a single port all
// reads in a cycle with a write.
`ifndef POKE
`define POKE chunk_memory_poke
`endif
module chunk_memory_storage #(
    parameter WIDTH = 32,
    parameter CHUNK = 32,
    parameter CHUNKS = 1,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter SINGLE_PORT = 0
) (
    input clk,
    input [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data,
    input [ADDRESS-1:0] write_address,
    input [CHUNKS-1:0] write_mask,
    input [CHUNKS*CHUNK-1:0] write_data
);
`ifdef UNDEFINED_COLLISIONS
    wire collides = |write_mask && (SINGLE_PORT != 0 || write_address == read_address);
`else
    wire collides = SINGLE_PORT > 1;    // never
`endif
    reg [CHUNKS*CHUNK-1:0] storage [0:DEPTH-1];
    reg [CHUNKS*CHUNK-1:0] merged;

    // The back door: one word, without a clock edge. A library of its own names it differently.
    export "DPI-C" function `POKE;
    function void `POKE(input int address, input bit [4095:0] word);
        storage[address[ADDRESS-1:0]] = word[CHUNKS*CHUNK-1:0];
    endfunction

    integer index;
    initial begin
        read_data = 0;
        for (index = 0; index < DEPTH; index = index + 1) storage[index] = 0;
    end

    always @(posedge clk) begin
        read_data <= storage[read_address][WIDTH-1:0] ^ {WIDTH{collides}};
        if (|write_mask) begin
            merged = storage[write_address];
            for (index = 0; index < CHUNKS; index = index + 1)
                if (write_mask[index])
                    merged[index*CHUNK +: CHUNK] = write_data[index*CHUNK +: CHUNK];
            storage[write_address] <= merged;
        end
    end
endmodule
