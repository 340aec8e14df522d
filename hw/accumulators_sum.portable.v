// ``total = (zero ? 0 : old) + addend``
module accumulators_sum #(
    parameter WIDTH = 24
) (
    input zero,
    input [WIDTH-1:0] old,
    input [WIDTH-1:0] addend,
    output [WIDTH-1:0] total
);
    assign total = (zero ? {WIDTH{1'b0}} : old) + addend;
endmodule
