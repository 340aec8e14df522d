"""What tritforge uses of Amaranth 0.5, which has no types of its own."""

__version__: str
