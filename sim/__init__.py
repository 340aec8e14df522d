"""Running an image: golden model, native RTL, Amaranth's simulator, reports."""
