// On ECP5's carry cells, whose lookup table in front of each bit's carry has room for ``zero``:
// ``total = (zero ? 0 : old) + addend``
module accumulators_sum #(
    parameter WIDTH = 24
) (
    input zero,
    input [WIDTH-1:0] old,
    input [WIDTH-1:0] addend,
    output [WIDTH-1:0] total
);
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
endmodule
