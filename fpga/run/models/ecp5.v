// Models for simulation of ECP5 cells that Yosys only declares, and of pins and PLL without what
// only matters electrically. They follow from Yosys' maps (brams_map_16kd.v, dsp_map_18x18.v) and
// from how nextpnr packs block RAM (ecp5/pack.cc).

// Block RAM of 18 kbit: 1024 words of 18 bits, each two bytes of 9. A port of 9 bits takes a byte,
// narrower ones a part of the lower 8 bits of a byte; 36 bits are two words, port A's the lower one.
// Without output registers.
module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
    DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1,
    ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
    DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
    DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1,
    ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
    DOB4, DOB3, DOB2, DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB";
    parameter GSR = "ENABLED";
    parameter WID = 0;
    parameter INIT_DATA = "STATIC";
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0;
    parameter [319:0] INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0;
    parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0;
    parameter [319:0] INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0;
    parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0;
    parameter [319:0] INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0;
    parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0;
    parameter [319:0] INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0;
    parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0;
    parameter [319:0] INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0;
    parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0;
    parameter [319:0] INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0;
    parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0;
    parameter [319:0] INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0;
    parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0;
    parameter [319:0] INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;
    localparam [64*320-1:0] INITIAL = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C,
        INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
        INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34,
        INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
        INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C,
        INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
        INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
        INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
        INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14,
        INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C,
        INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04,
        INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};

    // Bits of a word that an access touches, and how far they are moved.
    function [17:0] bits(input integer width, input [3:0] address);
        case (width)
            1: bits = 18'h1 << shift(width, address);
            2: bits = 18'h3 << shift(width, address);
            4: bits = 18'hF << shift(width, address);
            9: bits = 18'h1FF << shift(width, address);
            default: bits = {{9{address[1]}}, {9{address[0]}}};
        endcase
    endfunction
    function [4:0] shift(input integer width, input [3:0] address);
        case (width)
            1: shift = (address[3] ? 9 : 0) + address[2:0];
            2: shift = (address[3] ? 9 : 0) + {address[2:1], 1'b0};
            4: shift = (address[3] ? 9 : 0) + {address[2], 2'b0};
            9: shift = address[3] ? 9 : 0;
            default: shift = 0;
        endcase
    endfunction
    // What a read gives: the bits at an address, lowest first.
    function [17:0] part(input integer width, input [3:0] address, input [17:0] word);
        part = width >= 18 ? word
            : (word & bits(width, address)) >> shift(width, address);
    endfunction

    localparam PSEUDO = DATA_WIDTH_A == 36;
    wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3,
    ADA2, ADA1, ADA0};
    wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7,
    DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3,
    ADB2, ADB1, ADB0};
    wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7,
    DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire clka = (CLKAMUX == "INV") ? ~CLKA : CLKA;
    wire clkb = (CLKBMUX == "INV") ? ~CLKB : CLKB;
    wire ena = CEA & ~CSA0 & ~CSA1 & ~CSA2;
    wire enb = CEB & ~CSB0 & ~CSB1 & ~CSB2;
    // The lower and the upper words of pairs.
    reg [17:0] low [0:511];
    reg [17:0] high [0:511];
    integer index;
    initial
        for (index = 0; index < 512; index = index + 1) begin
            low[index] = INITIAL[40*index +: 18];
            high[index] = INITIAL[40*index + 20 +: 18];
        end
    wire [17:0] lowa = low[ada[13:5]], higha = high[ada[13:5]];
    wire [17:0] lowb = low[adb[13:5]], highb = high[adb[13:5]];
    wire [17:0] maska = bits(DATA_WIDTH_A, ada[3:0]);
    wire [17:0] maskb = bits(DATA_WIDTH_B, adb[3:0]);
    wire [17:0] dataa = DATA_WIDTH_A >= 18 ? dia : dia << shift(DATA_WIDTH_A, ada[3:0]);
    wire [17:0] datab = DATA_WIDTH_B >= 18 ? dib : dib << shift(DATA_WIDTH_B, adb[3:0]);
    wire [17:0] maskhigh = bits(18, {2'b0, ada[3:2]});
    wire [17:0] newa = (ada[4] ? higha : lowa) & ~maska | dataa & maska;
    wire [17:0] newb = (adb[4] ? highb : lowb) & ~maskb | datab & maskb;

    always @(posedge clka) if (ena & WEA) begin
        if (PSEUDO) begin
            low[ada[13:5]] <= lowa & ~maska | dia & maska;
            high[ada[13:5]] <= higha & ~maskhigh | dib & maskhigh;
        end else if (ada[4]) high[ada[13:5]] <= newa;
        else low[ada[13:5]] <= newa;
    end
    always @(posedge clkb) if (enb & WEB & !PSEUDO) begin
        if (adb[4]) high[adb[13:5]] <= newb;
        else low[adb[13:5]] <= newb;
    end

    reg [17:0] doa = 0, dob = 0, pair = 0;
    wire [17:0] reada = WEA && WRITEMODE_A == "WRITETHROUGH" ? newa : ada[4] ? higha : lowa;
    wire [17:0] readb = WEB && WRITEMODE_B == "WRITETHROUGH" ? newb : adb[4] ? highb : lowb;
    always @(posedge clka)
        if (RSTA) doa <= 0;
        else if (ena & !(WEA && WRITEMODE_A == "NORMAL"))
            doa <= part(DATA_WIDTH_A, ada[3:0], reada);
    always @(posedge clkb)
        if (RSTB) begin
            dob <= 0;
            pair <= 0;
        end else if (enb & !(WEB && WRITEMODE_B == "NORMAL")) begin
            dob <= DATA_WIDTH_B == 36 ? highb : part(DATA_WIDTH_B, adb[3:0], readb);
            pair <= lowb;
        end
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6,
    DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? pair : doa;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
    DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = dob;
endmodule

// Multiplier, without registers.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input CLK3, CLK2, CLK1, CLK0,
    input CE3, CE2, CE1, CE0,
    input RST3, RST2, RST1, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
    P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1,
    A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1,
    B0};
    wire signed [18:0] factora = {SIGNEDA & a[17], a};
    wire signed [18:0] factorb = {SIGNEDB & b[17], b};
    wire signed [37:0] product = factora * factorb;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
    P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} =
    product[35:0];
endmodule

// The PLL: what comes in goes out, and it has always locked.
module EHXPLLL (
    input CLKI, CLKFB, PHASESEL1, PHASESEL0, PHASEDIR, PHASESTEP, PHASELOADREG, STDBY,
    input PLLWAKESYNC, RST, ENCLKOP, ENCLKOS, ENCLKOS2, ENCLKOS3,
    output CLKOP, CLKOS, CLKOS2, CLKOS3, LOCK, INTLOCK, REFCLK, CLKINTFB
);
    parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 8, CLKOP_CPHASE = 0, CLKOP_FPHASE = 0;
    parameter PLLRST_ENA = "DISABLED", INTFB_WAKE = "DISABLED", STDBY_ENABLE = "DISABLED";
    parameter DPHASE_SOURCE = "DISABLED", FEEDBK_PATH = "CLKOP", CLKOP_ENABLE = "ENABLED";
    parameter OUTDIVIDER_MUXA = "DIVA", OUTDIVIDER_MUXB = "DIVB";
    parameter OUTDIVIDER_MUXC = "DIVC", OUTDIVIDER_MUXD = "DIVD";
    assign CLKOP = CLKI;
    assign LOCK = 1'b1;
endmodule

// The look-up table as one expression, which is quick to simulate.
module LUT4 (input A, B, C, D, output Z);
    parameter [15:0] INIT = 0;
    assign Z = INIT[{D, C, B, A}];
endmodule

// A pin in one direction.
module TRELLIS_IO (inout B, input I, input T, output O);
    parameter DIR = "INPUT";
    generate
        if (DIR == "INPUT") assign O = B;
        else assign B = I;
    endgenerate
endmodule
