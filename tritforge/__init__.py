"""Command line, flows and the Python interface."""
