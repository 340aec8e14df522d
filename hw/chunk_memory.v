// Memory with one read and one write port, written in chunks; see hw/memory.py.
//
// The data of a read stand two cycles after the address; a word that is written in the
// cycle in which it is read gives the old contents. Verilator gets one assignment of the
// whole word, which is much faster there; synthesis gets write enables.
`ifndef POKE
`define POKE chunk_memory_poke
`endif
module chunk_memory #(
    parameter WIDTH = 32,
    parameter CHUNK = 32,
    parameter CHUNKS = 1,
    parameter DEPTH = 2,
    parameter ADDRESS = 1
) (
    input clk,
    input [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data,
    input [ADDRESS-1:0] write_address,
    input [CHUNKS-1:0] write_mask,
    input [CHUNKS*CHUNK-1:0] write_data
);
    reg [CHUNKS*CHUNK-1:0] storage [0:DEPTH-1];
    reg [WIDTH-1:0] fetched;
`ifdef VERILATOR
    reg [CHUNKS*CHUNK-1:0] merged;

    // The simulation's back door: one word, without a clock edge.
    export "DPI-C" function `POKE;
    function void `POKE(input int address, input bit [4095:0] word);
        storage[address[ADDRESS-1:0]] = word[CHUNKS*CHUNK-1:0];
    endfunction
`endif
    integer index;

    initial begin
        fetched = 0;
        read_data = 0;
        for (index = 0; index < DEPTH; index = index + 1) storage[index] = 0;
    end

    always @(posedge clk) begin
        fetched <= storage[read_address][WIDTH-1:0];
        read_data <= fetched;
`ifdef VERILATOR
        if (|write_mask) begin
            merged = storage[write_address];
            for (index = 0; index < CHUNKS; index = index + 1)
                if (write_mask[index])
                    merged[index*CHUNK +: CHUNK] = write_data[index*CHUNK +: CHUNK];
            storage[write_address] <= merged;
        end
`else
        for (index = 0; index < CHUNKS; index = index + 1)
            if (write_mask[index])
                storage[write_address][index*CHUNK +: CHUNK] <= write_data[index*CHUNK +: CHUNK];
`endif
    end
endmodule
