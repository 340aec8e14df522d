"""What the test of random networks draws: a configuration for every seed, and networks on it.

A draw depends on its seed alone. The kind of its configuration follows from the seed by rule, so
that a few seeds in a row have every kind; all else is random.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tests.model_export.networks import (
    bound_network,
    compile_network,
    random_codes,
    random_config,
    random_network,
    random_shape,
    streamed,
)
from tritforge.hw.config import Config
from tritforge.hw.unpacker import can_unpack
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ExportError
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.streaming import emit_streamed
from tritforge.model_export.network import Layer, Network
from tritforge.sim.cycle.decode import decode_layer
from tritforge.sim.cycle.structs import TILES
from tritforge.sim.records import Records

__all__ = ["FEATURES", "FEW", "MANY", "Case", "draw", "features"]

#: Seeds of `make test`, which have every feature, and of `make test-slow`.
FEW = range(10)
MANY = range(10, 90)
#: Networks of a draw, and of one whose networks are streamed.
_NETWORKS, _STREAMED_NETWORKS = 10, 6


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A network, its memory contents for ``memory.config``, and two inputs (C, H, W)."""

    network: Network
    memory: MemoryImage
    inputs: tuple[NDArray[np.int64], NDArray[np.int64]]

    @property
    def compiled(self) -> CompiledNetwork:
        return CompiledNetwork(self.network, self.memory)


def draw(seed: int) -> Iterator[Case]:
    """The cases of a seed. Their configuration is the same."""
    rng = np.random.default_rng([seed, 17])
    is_streamed = seed % 3 == 2
    fixed: dict[str, int] = {}
    if seed % 4 == 0:  # trits can be packed
        fixed["rows"] = int(rng.choice([1, 2, 4, 8]))
    if seed % 5 == 1:
        fixed |= {"rows": int(rng.choice([4, 8, 16])), "multipliers": True}
    if seed % 5 == 3 and is_streamed:
        fixed |= {"rows": 4, "multipliers": True}
    if seed % 9 == 6:
        fixed["job_places"] = 1
    if seed % 4 != 1:
        fixed["row_merges"] = True
    if seed % 9 == 5:
        fixed |= {"sets": 1, "job_places": 0}
    config = random_config(
        rng,
        **fixed,
        skip_zero_weights=seed % 5 != 3,
        skip_zero_activations=seed % 5 != 4,
        memory_ports=1 if seed & 1 and not is_streamed else 2,  # of one port nothing is refilled
        register_stages="few" if seed & 2 else "full",
        gate_clocks=bool(seed & 4),
        unpack_trits=seed % 7 != 6,
        layer_count=1 + seed % 8 if is_streamed else 16,
        activation_tables=(0, 2, 1, 0, 8, 3, 0)[seed % 7],
        write_back_sums=seed % 10 not in (0, 4, 9),
    )
    return _streamed_cases(rng, config, seed) if is_streamed else _cases(rng, config, seed)


def _cases(rng: np.random.Generator, config: Config, seed: int) -> Iterator[Case]:
    for number in range(_NETWORKS):
        if number == 0:
            network, codes = bound_network(rng, config, signed=bool(seed % 2))
        else:
            network = random_network(rng, config)
            codes = random_codes(rng, network)
        densities = {
            name: rng.random(tensor.channels)
            for name, tensor in network.tensors.items()
            if number % 2
        }
        tight = number % 3 == 2  # as if memory were short: outputs on their sources
        memory = compile_network(network, config, densities, tight=tight)
        shaped = random_shape(np.random.default_rng([seed, number, 23]), network, config)
        if shaped is not network:
            densities.pop(network.input, None)  # its channels may be others
            with contextlib.suppress(ExportError):  # it does not fit in this shape
                memory = compile_network(shaped, config, densities, tight=tight)
        yield Case(network, memory, _inputs(codes, number == 1))


def _streamed_cases(rng: np.random.Generator, config: Config, seed: int) -> Iterator[Case]:
    """A configuration made too small for one network, and others that can be streamed on it."""
    other = np.random.default_rng([seed, 23])
    network = random_network(rng, config)
    try:
        memory = streamed(rng, random_shape(other, network, config), config)
    except ExportError:  # it does not fit in another shape
        memory = streamed(rng, network, config)
    small = memory.config
    for number in range(_STREAMED_NETWORKS):
        yield Case(network, memory, _inputs(random_codes(rng, network), number == 1))
        for _ in range(100):
            network = random_network(rng, config)
            shaped = random_shape(other, network, config)
            try:
                memory = emit_streamed(shaped, place(shaped, small), small)
                break
            except ExportError:
                pass
        else:
            return  # nothing else fits: its own network was enough


def _most_groups(case: Case) -> int:
    """Column groups of the tile with the most."""
    memory = case.memory
    passes = memory.layers if memory.schedule is None else memory.schedule.passes
    records = Records(memory.config, memory.program)
    column = list(TILES.members).index("group_count")
    return max(
        int(decode_layer(records, "", "", one.address).tiles[:, column].max()) for one in passes
    )


def _inputs(codes: NDArray[np.int64], is_zero: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The second input leaves other zeros behind."""
    return (np.zeros_like(codes) if is_zero else codes), codes[:, ::-1, ::-1] // 2


#: Everything that some seed of :data:`FEW` must have.
FEATURES = frozenset(
    {
        "sets",
        "one set",
        "drain lanes",
        "scalers of additions",
        "results of some lanes",
        "several values of a slice at once",
        "several values of a slice at once, merged",
        "several values of a slice at once, added",
        "blocks of several values of a slice at once",
        "2 banks",
        "4 banks",
        "8 banks",
        "one memory port, full stages",
        "one memory port, few stages",
        "two memory ports, full stages",
        "two memory ports, few stages",
        "no places for jobs",
        "one place for jobs",
        "several places for jobs",
        "one place for groups, and places for jobs",
        "several places for groups",
        "several places for groups, one memory port",
        "several places for groups, few stages",
        "several places for groups, streamed",
        "more groups than places",
        "as many groups as places",
        "few places for words",
        "few places for pixels",
        "few places for packets",
        "shared results",
        "streamed with few stages",
        "streamed with no places for jobs",
        "gated clocks",
        "zero weights visited",
        "zero activations visited",
        "packed trits",
        "no packed trits",
        "shallow queues",
        "deep queues",
        "more passes than counted",
        "streamed",
        "streamed strips",
        "streamed on sets",
        "streamed with gated clocks",
        "streamed without skipping",
        "zero input",
        "signed input",
        "blocks of pixels",
        "blocks that do not divide their output",
        "blocks of depthwise rows",
        "blocks of several groups",
        "blocks of strided kernels",
        "blocks of shared trits",
        "blocks on an unfolded input",
        "blocks in several tiles",
        "blocks of sums at write-back",
        "blocks in front of a max-pool",
        "blocks of several max-pool windows",
        "blocks in front of a max-pool streamed",
        "blocks in front of a signed max-pool",
        "blocks streamed",
        "blocks of the input folded",
        "windows of the input unfolded",
        "unfolded windows streamed",
        "signed tensor",
        "pooling",
        "overlapping pooling",
        "pooling with padding",
        "residual",
        "term planes",
        "wide columns, 4 rows",
        "wide columns, 8 rows",
        "wide columns, 16 rows",
        "wide columns, several quarters",
        "wide columns, zeros visited",
        "wide columns, gated clocks",
        "wide columns, streamed",
        "wide columns beside trits",
        "multipliers that nothing uses",
        "shared trits",
        "windows that follow no stride",
        "stride",
        "dilation",
        "padding",
        "cropping",
        "several tiles",
        "an output on its source",
        "a pooled output on its source",
        "streamed, an output on its source",
        "accumulators near their bound",
        "no activation tables",
        "one activation table",
        "several activation tables",
        "activation tables in several lanes",
        "activation tables with few stages",
        "an activation table makes unsigned of signed",
        "an activation table makes signed of unsigned",
        "pooling behind an activation table",
        "layers that share an activation table",
        "streamed activation tables",
        "no sums at write-back",
        "sums at write-back of unsigned",
        "sums at write-back of signed",
        "sums at write-back of one sign from the other",
        "sums at write-back one after the other",
        "sums at write-back of several tiles",
        "sums at write-back behind an activation table",
        "streamed sums at write-back",
        *(
            f"layer {kind}"
            for kind in (
                "conv",
                "grouped",
                "depthwise",
                "linear",
                "pool",
                "add",
                "concat",
                "mixed",
                "avgpool",
                "identity",
                "sum",
            )
        ),
    }
)


def _shape_features(case: Case) -> dict[str, bool]:
    """Those of the shape in which the network is computed."""
    network, is_streamed = case.network, case.memory.schedule is not None
    fold = case.memory.tensors[network.input].fold
    computed = case.compiled.computed
    blocks = [layer.blocks for layer in computed.layers if layer.blocks is not None]
    names = {layer.name for layer in computed.layers if layer.blocks is not None}
    in_blocks = [layer for layer in network.layers if layer.name in names]
    return {
        "blocks of pixels": bool(blocks),
        "blocks that do not divide their output": any(not all(one.divide) for one in blocks),
        "blocks of depthwise rows": any(layer.kind == "depthwise" for layer in in_blocks),
        "blocks of several groups": any(len(layer.groups) > 1 for layer in in_blocks),
        "blocks of strided kernels": any(
            max(group.stride) > 1 for layer in in_blocks for group in layer.groups
        ),
        "blocks of shared trits": any(
            group.shared for layer in in_blocks for group in layer.groups
        ),
        "blocks on an unfolded input": any(
            group.source == network.input for layer in in_blocks for group in layer.groups
        )
        and fold is not None,
        "blocks in several tiles": any(
            place.tiles > 1 for place in case.memory.layers if place.block != (1, 1)
        ),
        "blocks in front of a max-pool": any(one.pool != (1, 1) for one in blocks),
        "blocks of several max-pool windows": any(
            one.pool != (1, 1) and one.pool != one.block for one in blocks
        ),
        "blocks in front of a max-pool streamed": is_streamed
        and any(one.pool != (1, 1) for one in blocks),
        "blocks in front of a signed max-pool": any(
            layer.blocks.pool != (1, 1) and network.tensors[layer.output].signed
            for layer in computed.layers
            if layer.blocks is not None
        ),
        "blocks of sums at write-back": any(layer.addend is not None for layer in in_blocks),
        "blocks streamed": is_streamed and bool(blocks),
        "blocks of several values of a slice at once": bool(blocks)
        and case.memory.config.slice_values > 1,
        "blocks of the input folded": fold is not None and fold.step is None,
        "windows of the input unfolded": fold is not None and fold.step is not None,
        "unfolded windows streamed": is_streamed and fold is not None and fold.step is not None,
    }


def _drain_features(config: Config, layers: list[Layer]) -> dict[str, bool]:
    several = config.slice_values > 1
    name = "several values of a slice at once"
    return {
        "drain lanes": config.drain_width > 1,
        name: several,
        f"{name}, merged": several and any(layer.pool is not None for layer in layers),
        f"{name}, added": several and any(layer.addend is not None for layer in layers),
    }


def features(case: Case) -> set[str]:
    """What of :data:`FEATURES` a case has."""
    config, network, schedule = case.memory.config, case.network, case.memory.schedule
    is_streamed = schedule is not None
    skips = config.skip_zero_weights and config.skip_zero_activations
    groups = [group for layer in network.layers for group in layer.groups]
    most_groups = _most_groups(case)
    pools = [layer.pool for layer in network.layers if layer.pool is not None]
    tabled = [layer for layer in network.layers if layer.requantization.table is not None]
    changes = {
        (layer.requantization.low < 0, network.tensors[layer.output].signed) for layer in tabled
    }
    wide = any(group.wide for group in groups)
    tensors = case.memory.tensors
    on_source = [
        layer
        for layer in network.layers
        if not layer.final
        and any(
            tensors[layer.output].base < tensors[group.source].base + tensors[group.source].size
            and tensors[group.source].base < tensors[layer.output].base + tensors[layer.output].size
            for group in layer.groups
            if not tensors[layer.output].external and not tensors[group.source].external
        )
    ]
    has = {
        f"wide columns, {config.rows} rows": wide,
        "wide columns, several quarters": wide
        and any(
            place.rows_used > place.tiles * config.quarter_rows for place in case.memory.layers
        ),
        "wide columns, zeros visited": wide and not config.skip_zero_weights,
        "wide columns, gated clocks": wide and config.gate_clocks,
        "wide columns, streamed": wide and is_streamed,
        "wide columns beside trits": any(
            {group.wide for group in layer.groups} == {False, True} for layer in network.layers
        ),
        "multipliers that nothing uses": config.multipliers and not wide,
        "sets": config.sets > 1,
        "one set": config.sets == 1,
        **_drain_features(config, network.layers),
        "scalers of additions": config.logic_scalers,
        "results of some lanes": config.results < config.drain_width,
        f"{config.banks} banks": True,
        f"{'one memory port' if config.memory_ports == 1 else 'two memory ports'}, "
        f"{config.register_stages} stages": True,
        "no places for jobs": config.job_places == 0,
        "one place for jobs": config.job_places == 1,
        "several places for jobs": config.job_places > 1,
        "one place for groups, and places for jobs": config.job_places > 0
        and config.group_places == 1,
        "several places for groups": config.group_places > 1,
        "several places for groups, one memory port": config.group_places > 1
        and config.memory_ports == 1,
        "several places for groups, few stages": config.group_places > 1 and config.few_stages,
        "several places for groups, streamed": config.group_places > 1 and is_streamed,
        "more groups than places": 1 < config.group_places < most_groups,
        "as many groups as places": 1 < config.group_places == most_groups,
        "few places for words": config.word_places == 2,
        "few places for pixels": config.pixel_places == 2,
        "few places for packets": config.packet_places == 2,
        "shared results": config.shared_results,
        "streamed with few stages": is_streamed and config.few_stages,
        "streamed with no places for jobs": is_streamed and config.job_places == 0,
        "gated clocks": config.gate_clocks,
        "zero weights visited": not config.skip_zero_weights,
        "zero activations visited": not config.skip_zero_activations,
        "packed trits": can_unpack(config),
        "no packed trits": not config.unpack_trits,
        "shallow queues": config.queue_depth <= 2,
        "deep queues": config.queue_depth >= 7,
        "more passes than counted": is_streamed and len(schedule.passes) > config.layer_count,
        "streamed": is_streamed,
        "streamed strips": is_streamed and len(schedule.passes) > len(network.layers),
        "streamed on sets": is_streamed and config.sets > 1,
        "streamed with gated clocks": is_streamed and config.gate_clocks,
        "streamed without skipping": is_streamed and not skips,
        "zero input": not case.inputs[0].any(),
        "signed input": network.tensors[network.input].signed,
        **_shape_features(case),
        "signed tensor": any(
            tensor.signed for name, tensor in network.tensors.items() if name != network.input
        ),
        "pooling": bool(pools),
        "overlapping pooling": any(
            kernel > stride
            for pool in pools
            for kernel, stride in zip(pool.kernel, pool.stride, strict=True)
        ),
        "pooling with padding": any(max(pool.padding) for pool in pools),
        "residual": any(
            len({group.source for group in layer.groups}) > 1 for layer in network.layers
        ),
        "term planes": any(
            len({(one.coefficient_plus, one.coefficient_minus) for one in own}) > 1
            for layer in network.layers
            for key in {(one.source, one.channels, one.rows) for one in layer.groups}
            for own in [
                [one for one in layer.groups if (one.source, one.channels, one.rows) == key]
            ]
        ),
        "shared trits": any(group.shared for group in groups),
        "windows that follow no stride": any(group.windows != (None, None) for group in groups),
        "stride": any(max(group.stride) > 1 for group in groups),
        "dilation": any(max(group.dilation) > 1 for group in groups),
        "padding": any(max(group.padding) > 0 for group in groups),
        "cropping": any(min(group.padding) < 0 for group in groups),
        "several tiles": any(place.tiles > 1 for place in case.memory.layers),
        "an output on its source": bool(on_source),
        "a pooled output on its source": any(layer.pool is not None for layer in on_source),
        "streamed, an output on its source": is_streamed and bool(on_source),
        "accumulators near their bound": network.name == "bound",
        "no activation tables": config.activation_tables == 0,
        "one activation table": config.activation_tables == 1 and bool(tabled),
        "several activation tables": len(case.memory.tables) > 256,
        "activation tables in several lanes": config.drain_width > 1 and bool(tabled),
        "activation tables with few stages": config.few_stages and bool(tabled),
        "an activation table makes unsigned of signed": (True, False) in changes,
        "an activation table makes signed of unsigned": (False, True) in changes,
        "pooling behind an activation table": any(layer.pool is not None for layer in tabled),
        "layers that share an activation table": not is_streamed
        and len(tabled) > len(case.memory.tables) // 256,
        "streamed activation tables": is_streamed
        and bool(tabled)
        and "tables" not in schedule.resident,
        **_sums(case),
        **{f"layer {layer.kind}": True for layer in network.layers},
    }
    return {name for name, present in has.items() if present}


def _sums(case: Case) -> dict[str, bool]:
    config, network, schedule = case.memory.config, case.network, case.memory.schedule
    is_streamed = schedule is not None
    sums = [layer for layer in network.layers if layer.addend is not None]
    signs = {
        (network.tensors[layer.addend].signed, network.tensors[layer.output].signed)
        for layer in sums
    }
    return {
        "no sums at write-back": not config.write_back_sums,
        "sums at write-back of unsigned": (False, False) in signs,
        "sums at write-back of signed": (True, True) in signs,
        "sums at write-back of one sign from the other": {(False, True), (True, False)} <= signs,
        "sums at write-back one after the other": bool(
            {layer.addend for layer in sums} & {layer.output for layer in sums}
        ),
        "sums at write-back of several tiles": any(
            case.memory.layer(layer.name).tiles > 1 for layer in sums
        ),
        "sums at write-back behind an activation table": any(
            layer.requantization.table is not None for layer in sums
        ),
        "streamed sums at write-back": is_streamed and bool(sums),
    }
