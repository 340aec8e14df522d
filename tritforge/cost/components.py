"""Tables of an energy estimate: components, and events that no counter of the hardware counts."""

__all__ = ["COMPONENTS", "DERIVED_EVENTS", "HOST_EVENTS", "LEAKAGE", "OFF_CHIP"]

#: Where energy goes, in the order of tables.
COMPONENTS: dict[str, str] = {
    "trit memory": "reads of trit words",
    "activation memory": "reads and writes of activations, by walkers and for max-pooling",
    "other memories": "program, row and result memory",
    "scalers": "Wp*x and -Wn*x",
    "broadcast": "wires and registers from scaler and trit memory to the elements",
    "queues": "writing and reading of the elements' queues",
    "adders": "additions in the elements, choice of the product, products with weights of wide "
    "column groups, select of the next trit",
    "accumulators": "reading and writing of accumulators",
    "walkers": "addresses, zero skip",
    "drain": "partial sums from cluster to cluster",
    "requantizers": "multiplication, offset, shift and clamp",
    "write-back": "queues and comparison in front of the activation memories",
    "control": "sequencer and event counters",
    "host port": "what goes through the port during a run",
    "clock": "flip-flops that are clocked in every cycle",
    "leakage": "all cells and memories, as long as the run takes",
    "off chip": "bits to and from memory outside the chip",
}
#: The component that is not on the chip.
OFF_CHIP = "off chip"
#: The component that costs energy even where nothing happens.
LEAKAGE = "leakage"
#: Events that follow from counters and the network: additions of weights of wide column groups,
#: which are among ``adds``.
DERIVED_EVENTS = ("wide_adds",)
#: Events at the host port, in 32-bit words; the hardware has no counters of them.
HOST_EVENTS = ("sent_trit_words", "sent_activation_words", "read_words", "result_words")
