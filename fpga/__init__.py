"""Boards and bitstreams."""
