// Storage of a chunk_memory on a chip: a memory macro, which no cells are mapped to. It behaves as
// chunk_memory_storage.verilator.v, which stands for it where a mapped netlist is simulated; its
// contents are undefined at first.
(* blackbox *)
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
    output [WIDTH-1:0] read_data,
    input [ADDRESS-1:0] write_address,
    input [CHUNKS-1:0] write_mask,
    input [CHUNKS*CHUNK-1:0] write_data
);
endmodule
