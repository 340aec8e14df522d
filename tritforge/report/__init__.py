"""One HTML file on a run: cycles, energy, area, roofline, compression, and where all of it is from."""
