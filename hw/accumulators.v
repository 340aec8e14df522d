// Accumulators of one element, in banks; see hw/accumulators.py.
//
// The bank that is added to is never the one that is taken from. Verilator gets one array and
// looks only at what changes; synthesis gets one memory per bank, with one address each.
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
`ifdef VERILATOR
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
`elsif NEGEDGE_READ
    // A block RAM for the low bits of a bank, read in the middle of the cycle. What has been taken
    // counts as zero: it is not written, so a bank is only written where it is added to.
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
`else
    // What has been taken counts as zero and is not written.
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
`endif
endmodule

// ``total = (zero ? 0 : old) + addend``
module accumulators_sum #(
    parameter WIDTH = 24
) (
    input zero,
    input [WIDTH-1:0] old,
    input [WIDTH-1:0] addend,
    output [WIDTH-1:0] total
);
`ifdef CARRY_CCU2C
    // The lookup table in front of each bit's carry has room for ``zero``.
    localparam PAIRS = (WIDTH + 1) / 2;
    wire [2*PAIRS-1:0] olds = old;
    wire [2*PAIRS-1:0] addends = addend;
    wire [2*PAIRS-1:0] totals;
    wire [PAIRS:0] carry;
    assign carry[0] = 1'b0;
    assign total = totals[WIDTH-1:0];
    genvar pair;
    generate
        for (pair = 0; pair < PAIRS; pair = pair + 1) begin : pairs
            CCU2C #(.INIT0(16'hA6AA), .INIT1(16'hA6AA), .INJECT1_0("NO"), .INJECT1_1("NO")) cell (
                .CIN(carry[pair]), .COUT(carry[pair + 1]),
                .A0(addends[2*pair]), .B0(olds[2*pair]), .C0(zero), .D0(1'b1),
                .A1(addends[2*pair+1]), .B1(olds[2*pair+1]), .C1(zero), .D1(1'b1),
                .S0(totals[2*pair]), .S1(totals[2*pair+1]));
        end
    endgenerate
`else
    assign total = (zero ? {WIDTH{1'b0}} : old) + addend;
`endif
endmodule
