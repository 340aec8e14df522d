"""What colours in plots stand for."""

__all__ = ["CAUSES", "GROUPS", "MOST_NAMED"]

#: What cluster cycles went into: colour, name, and what it means.
CAUSES: dict[str, tuple[str, str, str]] = {
    "broadcasts": ("c1", "broadcast", "an activation goes to the elements"),
    "stall_queue_full": ("c5", "queue full", "waiting for a queue whose adder has work"),
    "stall_imbalance": ("c2", "imbalance", "waiting for clusters with more work"),
    "stall_drain": ("c3", "drain", "waiting for a free accumulator bank"),
    "empty_scans": ("c4", "only zeros", "the word read held only zeros"),
    "idle": ("c7", "idle", "no work, or waiting for the host"),
}


#: Components of energy that share a colour: name, colour.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "trit memory": ("c1", ("trit memory",)),
    "other memories": ("c5", ("activation memory", "other memories")),
    "arithmetic": ("c2", ("scalers", "adders", "requantizers")),
    "queues and accumulators": ("c6", ("queues", "accumulators")),
    "moving data": ("c3", ("broadcast", "drain", "write-back")),
    "control and host port": ("c4", ("walkers", "control", "host port")),
    "clock": ("c7", ("clock",)),
    "leakage": ("c8", ("leakage",)),
}


#: Layers whose points in a roofline have names; those of more have numbers.
MOST_NAMED = 20
