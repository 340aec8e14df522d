// Accumulators of one element, in memories that are read without a clock; see hw/accumulators.py.
//
// The bank that is added to is never the one that is taken from. What has been taken counts as zero
// and is not written.
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
    wire add_zero;
    wire take_zero;
    wire [WIDTH-1:0] add_old;
    wire [WIDTH-1:0] take_old;
    wire [WIDTH-1:0] total;
    accumulators_sum #(.WIDTH(WIDTH)) sum (
        .zero(add_zero), .old(add_old), .addend(addend), .total(total));
    genvar bank;
    generate
        if (PLACE <= 4) begin : copies
            // All banks in one memory of 16 places, twice: one copy is read where it is added to,
            // the other where it is taken, so nothing selects a bank. ``added`` is turned against
            // ``taken`` by an addition, which writes it beside the sum, and back by taking.
            wire [PLACE-1:0] add_place = {add_bank, add_row};
            wire [PLACE-1:0] take_place = {take_bank, take_row};
            reg [WIDTH:0] for_add [0:(1<<PLACE)-1];
            reg [WIDTH:0] for_take [0:(1<<PLACE)-1];
            reg taken_add [0:(1<<PLACE)-1];
            reg taken_take [0:(1<<PLACE)-1];
            integer index;
            initial for (index = 0; index < (1<<PLACE); index = index + 1) begin
                for_add[index] = 0;
                for_take[index] = 0;
                taken_add[index] = 0;
                taken_take[index] = 0;
            end
            wire added_add, added_take;
            assign {added_add, add_old} = for_add[add_place];
            assign {added_take, take_old} = for_take[take_place];
            wire taken = taken_add[add_place];
            assign add_zero = added_add == taken;
            assign take_zero = added_take == taken_take[take_place];
            always @(posedge clk) begin
                if (add) for_add[add_place] <= {~taken, total};
                if (add) for_take[add_place] <= {~taken, total};
                if (take) taken_add[take_place] <= added_take;
                if (take) taken_take[take_place] <= added_take;
            end
        end else begin : separate
            // One memory per bank, with one address each.
            localparam BANKS = 1 << BANK_BITS;
            localparam ROWS = 1 << ROW_BITS;
            wire [WIDTH:0] olds [0:BANKS-1];
            assign {add_zero, add_old} = olds[add_bank];
            assign {take_zero, take_old} = olds[take_bank];
            for (bank = 0; bank < BANKS; bank = bank + 1) begin : banks
                reg [WIDTH:0] storage [0:ROWS-1];
                wire taking = take & (take_bank == bank);
                wire adding = add & (add_bank == bank);
                wire [ROW_BITS-1:0] place = taking ? take_row : add_row;
                assign olds[bank] = storage[place];
                always @(posedge clk) if (adding | taking) storage[place] <= {taking, total};
            end
        end
    endgenerate
    always @(posedge clk)
        if (take & take_zero) value <= 0;
        else if (take) value <= take_old;
endmodule
