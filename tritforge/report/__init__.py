"""One HTML file on a run: cycles, energy, area, roofline, compression, and their sources."""
