"""The boards, one file each; a new file with a ``BOARD`` is a new board."""
