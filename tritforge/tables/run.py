"""A run on a board: what it cost, and what the line did."""

from typing import Any

from tritforge.sim.result import RunReport
from tritforge.tables.simulate import input_sentences

__all__ = ["board_run_sentences"]


def board_run_sentences(document: dict[str, Any], report: RunReport, clock: int) -> list[str]:
    """What the run cost, and what the line did."""
    link = document["link"]
    images = report.images
    cycles = report.total_cycles or 0
    each = "" if not clock else f", {cycles / images / clock * 1000:.3f} ms at {clock / 1e6:g} MHz"
    there = "; the board held the image already" if document["already_there"] else ""
    sentences = [
        f"{images} image{'s' * (images != 1)} on configuration {report.configuration}: "
        f"{cycles:,} cycles, {cycles // images:,} an image{each}; "
        f"{report.wall_seconds:.1f} s by this computer's clock, with all transfers{there}",
        f"link: {link['bytes_sent']:,} bytes sent, {link['bytes_received']:,} received; "
        f"{link['frames_sent']:,} frames, {link['frames_resent']:,} sent again; refused "
        f"{link['refused']:,} times as damaged, {link['full']:,} for lack of room; "
        f"{link['crc_errors']:,} damaged answers, {link['requests_repeated']:,} requests "
        f"repeated, {link['timeouts']:,} timeouts",
    ]
    sentences += input_sentences(report)
    if document["checked"] and not document["different_images"]:
        sentences.append("all outputs equal the golden model's")
    return sentences
