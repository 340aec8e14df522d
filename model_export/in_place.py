"""Sums at write-back: tensors that stand in the place of another one, and what that asks for."""

from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import Layer, Network

__all__ = ["LEAST_VALUE", "MOST_VALUE", "check_sums", "places"]

#: Requantized values that are added have 9 bits.
LEAST_VALUE, MOST_VALUE = -256, 255


def places(network: Network) -> dict[str, str]:
    """For every tensor, in the order in which they are computed, the one whose place it takes: the
    first of a chain of sums, or itself."""
    found = {network.input: network.input}
    for layer in network.layers:
        addend = layer.addend
        found[layer.output] = layer.output if addend is None else found.get(addend, addend)
    return found


def check_sums(network: Network) -> None:
    """Refuse layers that add to a tensor which cannot be written in place.

    Raises
    ------
    ExportError
        The tensor is the input, of another shape or scale, or read by the layer itself or by a
        later one; the layer is the last or has a max-pool; its values have more than 9 bits.
    """
    written = {network.input}
    gone: dict[str, str] = {}  # by tensor: the layer that has written over it
    for layer in network.layers:
        for name in layer.reads:
            if name in gone:
                raise ExportError(
                    f"layer {layer.name} reads tensor {name}, which layer {gone[name]} has "
                    f"added to in place"
                )
        if layer.addend is not None:
            fault = _fault(network, layer, layer.addend, written)
            if fault is not None:
                raise ExportError(f"layer {layer.name} adds to tensor {layer.addend}, {fault}")
            gone[layer.addend] = layer.name
        written.add(layer.output)


def _fault(network: Network, layer: Layer, addend: str, written: set[str]) -> str | None:
    """Why a layer cannot add to a tensor."""
    if addend not in written:
        return "which no layer before it has written"
    if addend == network.input:
        return "which is the network's input"
    if any(group.source == addend for group in layer.groups):
        return "which it reads itself"
    if layer.final or layer.pool is not None:
        return "but is the last layer" if layer.final else "but has a max-pool"
    if not {addend, layer.output} <= network.tensors.keys():
        return "which the network does not have"
    tensor, output = network.tensors[addend], network.tensors[layer.output]
    shapes = [(one.channels, one.height, one.width) for one in (tensor, output)]
    if shapes[0] != shapes[1]:
        return f"which is {shapes[0]}; its sums are {shapes[1]}"
    if tensor.scale != output.scale:
        return f"of scale {tensor.scale:g}; that of its sums is {output.scale:g}"
    rule = layer.requantization
    if rule is not None and not LEAST_VALUE <= rule.low <= rule.high <= MOST_VALUE:
        return f"but clamps its values to {rule.low} .. {rule.high}, beyond 9 bits"
    return None
