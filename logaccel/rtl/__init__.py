"""The accelerator in Verilog-2005: sources, parameters derived from the architecture, and a bench."""
