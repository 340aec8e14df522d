// Accumulators of one element for an iCE40; see hw/accumulators.py.
//
// A block RAM for the low bits of a bank, read in the middle of the cycle: the addresses have to
// stand by then. What has been taken counts as zero: it is not written, so a bank is only written
// where it is added to. The bank that is added to is never the one that is taken from.
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
    localparam BANKS = 1 << BANK_BITS;
    localparam ROWS = 1 << ROW_BITS;
    localparam LOW = WIDTH < 16 ? WIDTH : 16;
    wire [WIDTH-1:0] olds [0:BANKS-1];
    wire [BANKS-1:0] fresh;
    wire [WIDTH-1:0] sum = (fresh[add_bank] ? {WIDTH{1'b0}} : olds[add_bank]) + addend;
    genvar bank;
    generate
        for (bank = 0; bank < BANKS; bank = bank + 1) begin : banks
            (* ram_style = "block" *) reg [LOW-1:0] storage [0:ROWS-1];
            integer index;
            initial for (index = 0; index < ROWS; index = index + 1) storage[index] = 0;
            reg [LOW-1:0] fetched;
            reg [ROWS-1:0] taken = {ROWS{1'b1}};
            wire adding = add & (add_bank == bank);
            wire taking = take & (take_bank == bank);
            wire [ROW_BITS-1:0] place = taking ? take_row : add_row;
            always @(negedge clk) fetched <= storage[place];
            always @(posedge clk) begin
                if (adding) storage[add_row] <= sum[LOW-1:0];
                if (adding) taken[add_row] <= 0;
                if (taking) taken[take_row] <= 1;
            end
            assign fresh[bank] = taken[place];
            assign olds[bank][LOW-1:0] = fetched;
            if (WIDTH > LOW) begin : high
                reg [WIDTH-LOW-1:0] rest [0:ROWS-1];
                assign olds[bank][WIDTH-1:LOW] = rest[place];
                always @(posedge clk) if (adding) rest[add_row] <= sum[WIDTH-1:LOW];
            end
        end
    endgenerate
    always @(posedge clk) if (take) value <= fresh[take_bank] ? {WIDTH{1'b0}} : olds[take_bank];
endmodule
