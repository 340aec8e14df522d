// Accumulators of one element for Verilator: one array, which is looked at only where it changes;
// see hw/accumulators.py.
module accumulators #(
    parameter WIDTH = 24,
    parameter PRODUCT = 19,
    parameter BANK_BITS = 1,
    parameter ROW_BITS = 2
) (
    input clk,
    input add,
    input [BANK_BITS-1:0] add_bank,
    input [ROW_BITS-1:0] add_row,
    input signed [PRODUCT-1:0] product,
    input take,
    input [BANK_BITS-1:0] take_bank,
    input [ROW_BITS-1:0] take_row,
    output reg [WIDTH-1:0] value
);
    wire signed [WIDTH-1:0] addend = product;
    initial value = 0;
    localparam PLACE = BANK_BITS + ROW_BITS;
    reg [WIDTH-1:0] storage [0:(1<<PLACE)-1];
    wire [PLACE-1:0] add_place = {add_bank, add_row};
    wire [PLACE-1:0] take_place = {take_bank, take_row};
    integer index;
    initial for (index = 0; index < (1<<PLACE); index = index + 1) storage[index] = 0;
    always @(posedge clk) begin
        if (add) storage[add_place] <= storage[add_place] + addend;
        if (take) begin
            value <= storage[take_place];
            storage[take_place] <= 0;
        end
    end
endmodule
