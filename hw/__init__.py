"""The accelerator: configuration, blocks in Amaranth, Verilog generation."""
