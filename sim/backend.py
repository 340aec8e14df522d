"""One interface over everything that runs an image: golden model, models of the hardware, RTL.

===========  =====================================================================
name         what runs
===========  =====================================================================
``golden``   the network in PyTorch integers; knows no clock cycles
``cycle``    the golden model's integers, the cycle model's cycles and counters
``rtl``      the generated Verilog, compiled by Verilator, behind its host port
``pysim``    the same hardware in Amaranth's simulator; small configurations only
===========  =====================================================================

Cycles are clock cycles of the accelerator between a RUN and its end, as its STATUS packet and its
counters report them. Writing the image and the activations into its memories, and reading results,
is not in them; :class:`tritforge.sim.result.Loading` says what the former took.
"""

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tritforge.common.errors import TritforgeError
from tritforge.common.progress import Progress
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.schedule import Schedule
from tritforge.model_export.network import Network
from tritforge.sim.bounds import drained_values, needed_cycles
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.device import Device
from tritforge.sim.event_log import Record
from tritforge.sim.golden import GoldenModel
from tritforge.sim.host import HostTensors
from tritforge.sim.interpreter import Interpreter
from tritforge.sim.native import NativeLink
from tritforge.sim.observer import Observer
from tritforge.sim.pysim import PythonLink
from tritforge.sim.result import LayerRun, Loading, Simulation

__all__ = [
    "BACKENDS",
    "Backend",
    "CycleBackend",
    "DeviceBackend",
    "GoldenBackend",
    "InterpreterBackend",
    "PythonBackend",
    "RtlBackend",
    "SimulationError",
    "check_layer",
    "check_log",
    "create",
    "port_word_count",
]

#: Images whose golden activations are held at a time.
_CHUNK = 16
#: Memory contents of more port words than this reach the RTL's memories by the back door.
BACK_DOOR_WORDS = 1_000_000


class SimulationError(TritforgeError, ValueError):
    """A backend cannot run what it is asked for; the message is one sentence."""


class Backend(ABC):
    """Runs one compiled network.

    Parameters
    ----------
    compiled : CompiledNetwork
    progress : callable(message, fraction), optional
        Told of what must be built first.

    Raises
    ------
    DeviceError
        From every method: the accelerator refuses a packet, is of another configuration, or is
        too large for the simulator.
    SimulatorError
        The simulator, or the cycle model, cannot be built.
    CycleModelError
        The program addresses memory that is not there.
    """

    #: What reports and the command line call it.
    name: ClassVar[str]
    #: Whether it knows what happens when, and writes event logs.
    logs: ClassVar[bool] = False

    def __init__(self, compiled: CompiledNetwork, progress: Progress | None = None) -> None:
        self.compiled = compiled

    @functools.cached_property
    def golden(self) -> GoldenModel:
        """The golden model, made when it is first needed."""
        return GoldenModel(self.compiled.network)

    @abstractmethod
    def run(
        self,
        codes: NDArray[np.integer],
        layer: str | None = None,
        progress: Progress | None = None,
        log: list[Record] | None = None,
    ) -> Simulation:
        """The whole network on every image, one RUN each; or one layer alone.

        Parameters
        ----------
        codes : integer array (images, channels, height, width)
            Input codes, as :func:`tritforge.sim.golden.quantize_input` gives them.
        layer : str, optional
            Run this layer alone, on the golden activations before it.
        log : list, optional
            The event log is appended to it, layer by layer; of one image only.

        Raises
        ------
        SimulationError
            No such layer, or as :func:`check_log`.
        ExportError
            Codes of another shape or out of range.
        """

    @abstractmethod
    def capture(
        self, codes: NDArray[np.integer], progress: Progress | None = None
    ) -> dict[str, NDArray[np.int64]]:
        """Every layer's output by layer name, each (images, rows, height, width).

        Layers run one by one, each on the activations that the one before left on the chip; the
        outputs are codes, and results for the last layer.
        """

    def close(self) -> None:
        """Release what the backend holds."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_log(self, codes: NDArray[np.integer], log: list[Record] | None) -> None:
        if log is not None:
            check_log(self.name, self.logs, len(codes))

    def _layer_runs(self, layer: str | None) -> list[LayerRun]:
        check_layer(self.compiled.network, layer)
        runs = [
            LayerRun(
                one.name,
                one.kind,
                one.rows,
                (one.height, one.width),
                one.mac_count,
                bool(one.weight_count)
                and not one.is_ternary
                and not self.compiled.config.multipliers,
            )
            for one in self.compiled.network.layers
            if layer in (None, one.name)
        ]
        schedule = self.compiled.memory.schedule
        for run in runs if schedule is not None else ():
            assert schedule is not None
            numbers = schedule.of_layer(run.name)
            run.passes = len(numbers)
            run.sent_words, run.read_words = schedule.port_words(self.compiled.config, numbers)
        return runs

    def _simulation(
        self,
        output: NDArray[np.int64],
        layer: str | None,
        layers: list[LayerRun],
        seconds: float,
        cycles: list[int] | None = None,
        loading: Loading | None = None,
    ) -> Simulation:
        network = self.compiled.network
        last = network.final if layer is None else network.layer(layer)
        scale = last.result_scale if last.final else network.tensors[last.output].scale
        return Simulation(
            self.name,
            network.name,
            self.compiled.config,
            len(output),
            layer,
            last.name,
            scale,
            output,
            layers,
            None if cycles is None else sum(cycles),
            cycles or [],
            loading or Loading(),
            seconds,
        )

    def _count_passes(
        self,
        schedule: Schedule,
        layers: list[LayerRun],
        numbers: range,
        counters: Sequence[Mapping[str, int]],
    ) -> None:
        """Add one image's counters of passes to their layers."""
        sums = schedule.sum_by_layer(counters, numbers)
        self._count(layers, [sums[layer.name] for layer in layers])

    def _count(self, layers: list[LayerRun], counters: Sequence[Mapping[str, int]]) -> None:
        """Add one image's counters to layers, in order."""
        for one, values in zip(layers, counters, strict=False):
            one.add(values)
            if values.get("cycles"):
                values_drained = drained_values(self.compiled.network.layer(one.name))
                words = max(one.sent_words, one.read_words)
                one.add_needed(needed_cycles(self.compiled.config, values, values_drained, words))


class GoldenBackend(Backend):
    """The golden model: integers only, no cycles and no counters."""

    name = "golden"

    def run(
        self,
        codes: NDArray[np.integer],
        layer: str | None = None,
        progress: Progress | None = None,
        log: list[Record] | None = None,
    ) -> Simulation:
        self._check_log(codes, log)
        layers = self._layer_runs(layer)
        tensor = (
            self.compiled.network.final.output
            if layer is None
            else self.compiled.network.layer(layer).output
        )
        begin = time.perf_counter()
        parts = []
        for start in range(0, len(codes), _CHUNK):
            _report(progress, "golden model", start, len(codes))
            part = codes[start : start + _CHUNK]
            parts.append(
                self.golden.run(part) if layer is None else self.golden.run_all(part)[tensor]
            )
        return self._simulation(np.concatenate(parts), layer, layers, time.perf_counter() - begin)

    def capture(
        self, codes: NDArray[np.integer], progress: Progress | None = None
    ) -> dict[str, NDArray[np.int64]]:
        tensors = self.golden.run_all(codes)
        return {layer.name: tensors[layer.output] for layer in self.compiled.network.layers}


class CycleBackend(Backend):
    """The golden model for integers, the cycle model for cycles and counters.

    What is in memory between runs is what the hardware has there. Loading is not modelled.
    """

    name = "cycle"
    logs = True

    def __init__(self, compiled: CompiledNetwork, progress: Progress | None = None) -> None:
        super().__init__(compiled, progress)
        _report(progress, "cycle model: reading memory contents", 0, 1)
        self.model = CycleModel(compiled.network, compiled.memory)

    def run(
        self,
        codes: NDArray[np.integer],
        layer: str | None = None,
        progress: Progress | None = None,
        log: list[Record] | None = None,
    ) -> Simulation:
        self._check_log(codes, log)
        network = self.compiled.network
        layers = self._layer_runs(layer)
        found: dict[str, list[Record]] | None = None if log is None else {}
        begin = time.perf_counter()
        output = (network.final if layer is None else network.layer(layer)).output
        outputs: list[NDArray[np.int64]] = []
        cycles: list[int] = []

        def tell(done: float) -> None:
            _report(
                progress,
                f"cycle model image {len(outputs) + 1} of {len(codes)}",
                len(outputs) + done,
                len(codes),
            )

        for one in codes:
            _report(
                progress,
                f"golden model image {len(outputs) + 1} of {len(codes)}",
                len(outputs),
                len(codes),
            )
            tensors = {
                name: values[0]
                for name, values in self.golden.run_all(one[np.newaxis], unpooled=True).items()
            }
            schedule = self.compiled.memory.schedule
            if schedule is None:
                counters = self.model.run(
                    tensors,
                    None if layer is None else [layer],
                    batch=self.compiled.config.layer_count,
                    progress=tell,
                    log=found,
                )
                self._count(layers, counters)
            else:
                numbers = _numbers(schedule, layer)
                counters = self.model.run_schedule(
                    tensors, numbers, tell, log=found, fresh=layer is not None
                )
                self._count_passes(schedule, layers, numbers, counters)
            cycles.append(sum(values["cycles"] for values in counters))
            outputs.append(tensors[output])
        if log is not None and found is not None:
            schedule = self.compiled.memory.schedule
            names = (
                [one.name for one in layers]
                if schedule is None
                else [schedule.pass_name(number) for number in _numbers(schedule, layer)]
            )
            log += [record for name in names for record in found[name]]
        return self._simulation(
            np.stack(outputs).astype(np.int64),
            layer,
            layers,
            time.perf_counter() - begin,
            cycles,
            Loading(
                "not modelled" if self.compiled.memory.schedule is None else "streamed",
                port_word_count(self.compiled.memory),
            ),
        )

    def capture(
        self, codes: NDArray[np.integer], progress: Progress | None = None
    ) -> dict[str, NDArray[np.int64]]:
        tensors = self.golden.run_all(codes)
        return {layer.name: tensors[layer.output] for layer in self.compiled.network.layers}


class _Machine(Backend):
    """What runs memory contents: one image at a time, between memories it writes and reads."""

    def __init__(self, compiled: CompiledNetwork, progress: Progress | None = None) -> None:
        super().__init__(compiled, progress)
        self.host = HostTensors(compiled.memory)

    def run(
        self,
        codes: NDArray[np.integer],
        layer: str | None = None,
        progress: Progress | None = None,
        log: list[Record] | None = None,
    ) -> Simulation:
        self._check_log(codes, log)
        network, memory = self.compiled.network, self.compiled.memory
        layers = self._layer_runs(layer)
        begin = time.perf_counter()
        loading = self._load()
        if layer is None:
            places = memory.layers
            sources = [network.input]
        else:
            places = [memory.layer(layer)]
            sources = sorted(network.layer(layer).reads)
        outputs: list[NDArray[np.integer]] = []
        cycles: list[int] = []
        tensors: dict[str, NDArray[np.int64]] = {}
        for index in range(len(codes)):
            _report(progress, f"{self.name} image {index + 1} of {len(codes)}", index, len(codes))
            if index % _CHUNK == 0:
                part = codes[index : index + _CHUNK]
                tensors = (
                    {network.input: np.asarray(part, np.int64)}
                    if layer is None
                    else self.golden.run_all(part)
                )
            self._write({name: tensors[name][index % _CHUNK] for name in sources})
            if memory.schedule is not None:
                numbers = _numbers(memory.schedule, layer)
                counters, spent = self._stream(numbers, _part_of(progress, index, len(codes)))
                self._count_passes(memory.schedule, layers, numbers, counters)
                cycles.append(spent)
                outputs.append(self._output(places[-1].output))
                continue
            spent = 0
            # As many layers to a RUN as the hardware keeps counters of: normally all.
            for start in range(0, len(places), self.compiled.config.layer_count):
                batch = places[start : start + self.compiled.config.layer_count]
                counters, run_cycles = self._execute(batch[0].address, len(batch))
                spent += run_cycles
                self._count(layers[start:], counters)
            cycles.append(spent)
            outputs.append(self._output(places[-1].output))
        return self._simulation(
            np.stack(outputs).astype(np.int64),
            layer,
            layers,
            time.perf_counter() - begin,
            cycles,
            loading,
        )

    def capture(
        self, codes: NDArray[np.integer], progress: Progress | None = None
    ) -> dict[str, NDArray[np.int64]]:
        memory = self.compiled.memory
        self._load()
        parts: dict[str, list[NDArray[np.integer]]] = {place.name: [] for place in memory.layers}
        steps = len(codes) * len(memory.layers)
        for index, image in enumerate(codes):
            self._write({self.compiled.network.input: image})
            for number, place in enumerate(memory.layers):
                _report(
                    progress,
                    f"{self.name} layer {place.name}",
                    index * len(memory.layers) + number,
                    steps,
                )
                if memory.schedule is None:
                    self._execute(place.address, 1)
                else:
                    self._stream(memory.schedule.of_layer(place.name), None)
                parts[place.name].append(self._output(place.output))
        return {name: np.stack(part).astype(np.int64) for name, part in parts.items()}

    def _output(self, tensor: str) -> NDArray[np.integer]:
        return (
            self._results() if tensor == self.compiled.network.final.output else self._read(tensor)
        )

    @abstractmethod
    def _load(self) -> Loading:
        """Write trits, row memory and program, once; how that went."""

    def _write(self, tensors: Mapping[str, NDArray[np.integer]]) -> None:
        """Write tensors that are there at once, each where it belongs."""
        inside = {}
        for name, codes in tensors.items():
            if self.compiled.memory.tensors[name].external:
                self.host.write(name, codes)
            else:
                inside[name] = codes
        self._write_inside(inside)

    @abstractmethod
    def _write_inside(self, tensors: Mapping[str, NDArray[np.integer]]) -> None: ...

    @abstractmethod
    def _execute(self, address: int, layers: int) -> tuple[list[dict[str, int]], int]:
        """Run layers; the counters of each, and the clock cycles of the run."""

    @abstractmethod
    def _stream(
        self,
        numbers: range,
        progress: Callable[[float], None] | None,
    ) -> tuple[list[dict[str, int]], int]:
        """Run passes of a streamed image, like :meth:`_execute`."""

    @abstractmethod
    def _read(self, tensor: str) -> NDArray[np.integer]: ...

    @abstractmethod
    def _results(self) -> NDArray[np.integer]: ...


class DeviceBackend(_Machine):
    """An accelerator behind its host port."""

    logs = True
    #: Whether large contents may be put into the memories past the port.
    back_door: ClassVar[bool] = False

    def __init__(self, compiled: CompiledNetwork, device: Device) -> None:
        super().__init__(compiled)
        self.device = device
        self._loading: Loading | None = None

    @property
    def _memory(self) -> MemoryImage:
        return self.compiled.memory

    def close(self) -> None:
        self.device.link.close()

    def run(
        self,
        codes: NDArray[np.integer],
        layer: str | None = None,
        progress: Progress | None = None,
        log: list[Record] | None = None,
    ) -> Simulation:
        if log is None:
            return super().run(codes, layer, progress)
        observer = Observer(self.compiled.config)
        if not self.device.link.observe(observer):
            raise SimulationError(f"backend {self.name} has no observation port for an event log")
        try:
            simulation = super().run(codes, layer, progress, log)
        finally:
            self.device.link.observe(None)
        widths = {one.name: one.width for one in self.compiled.computed.layers}
        schedule = self._memory.schedule
        log += observer.records(
            [(one.name, widths[one.name]) for one in simulation.layers]
            if schedule is None
            else [
                (schedule.pass_name(number), widths[schedule.passes[number].layer])
                for number in _numbers(schedule, layer)
            ]
        )
        return simulation

    def _load(self) -> Loading:
        if self._loading is None:
            self.device.check_identity()
            words = port_word_count(self._memory)
            before = self.device.link.cycles
            sent = self.device.load(
                self._memory, back_door=self.back_door and words > BACK_DOOR_WORDS
            )
            spent = self.device.link.cycles - before
            if self._memory.schedule is not None:
                self._loading = Loading("streamed", words, sent, spent)
            elif sent:
                self._loading = Loading("host port", words, sent, spent)
            else:
                self._loading = Loading("back door", words)
        return self._loading

    def _write_inside(self, tensors: Mapping[str, NDArray[np.integer]]) -> None:
        self.device.write_tensors(self._memory, tensors)

    def _stream(
        self,
        numbers: range,
        progress: Callable[[float], None] | None,
    ) -> tuple[list[dict[str, int]], int]:
        counters = self.device.run_schedule(self._memory, self.host, numbers, progress)
        return counters, self.device.status().cycles

    def _execute(self, address: int, layers: int) -> tuple[list[dict[str, int]], int]:
        return self.device.run(address, layers), self.device.status().cycles

    def _read(self, tensor: str) -> NDArray[np.integer]:
        return (
            self.host.read(tensor)
            if self._memory.tensors[tensor].external
            else self.device.read_tensor(self._memory, tensor)
        )

    def _results(self) -> NDArray[np.integer]:
        return self.device.read_results(self._memory)


class RtlBackend(DeviceBackend):
    """The generated Verilog, compiled; building it takes about a minute the first time."""

    name = "rtl"
    back_door = True

    def __init__(self, compiled: CompiledNetwork, progress: Progress | None = None) -> None:
        super().__init__(compiled, Device(NativeLink(compiled.config, progress)))


class PythonBackend(DeviceBackend):
    """The hardware in Amaranth's own simulator: no compiler needed, some 1000 cycles/s."""

    name = "pysim"

    def __init__(self, compiled: CompiledNetwork, progress: Progress | None = None) -> None:
        super().__init__(compiled, Device(PythonLink(compiled.config)))


class InterpreterBackend(_Machine):
    """The memory contents, executed without a clock: what the compiler meant the hardware to do.

    Its counters are those that do not depend on timing, so that cycles are unknown.
    """

    name = "memory"

    def __init__(self, compiled: CompiledNetwork, progress: Progress | None = None) -> None:
        super().__init__(compiled, progress)
        self._interpreter = Interpreter(compiled.config, compiled.memory)

    def run(
        self,
        codes: NDArray[np.integer],
        layer: str | None = None,
        progress: Progress | None = None,
        log: list[Record] | None = None,
    ) -> Simulation:
        simulation = super().run(codes, layer, progress, log)
        simulation.total_cycles = None
        simulation.cycles_per_image = []
        for one in simulation.layers:
            one.cycles, one.cycles_per_image = None, []
        return simulation

    def _load(self) -> Loading:
        return Loading("not modelled", port_word_count(self.compiled.memory))

    def _write_inside(self, tensors: Mapping[str, NDArray[np.integer]]) -> None:
        for place, words in self.compiled.memory.words_by_place(tensors):
            self._interpreter.load(place.base, words)

    def _execute(self, address: int, layers: int) -> tuple[list[dict[str, int]], int]:
        with self._executing():
            return self._interpreter.run(address, layers), 0

    def _stream(
        self,
        numbers: range,
        progress: Callable[[float], None] | None,
    ) -> tuple[list[dict[str, int]], int]:
        with self._executing():
            return self._interpreter.run_schedule(self.host, numbers), 0

    @contextmanager
    def _executing(self) -> Iterator[None]:
        """Whatever the interpreter refuses is wrong with the memory contents."""
        try:
            yield
        except (ValueError, OverflowError, IndexError) as error:
            raise SimulationError(
                f"the memory contents of network {self.compiled.network.name} cannot be executed: "
                f"{error}"
            ) from error

    def _read(self, tensor: str) -> NDArray[np.integer]:
        place = self.compiled.memory.tensors[tensor]
        if place.external:
            return self.host.read(tensor)
        return self.compiled.memory.tensor_from_words(
            tensor, self._interpreter.read(place.base, place.size)
        )

    def _results(self) -> NDArray[np.integer]:
        place = self.compiled.memory.results
        assert place is not None
        return self.compiled.memory.results_from_entries(
            self._interpreter.results[place.base : place.base + place.entries]
        )


#: Backends by name.
BACKENDS: dict[str, type[Backend]] = {
    backend.name: backend for backend in (GoldenBackend, CycleBackend, RtlBackend, PythonBackend)
}


def create(name: str, compiled: CompiledNetwork, progress: Progress | None = None) -> Backend:
    """The backend called ``name``, ready to run a compiled network; use it in a ``with`` statement.

    Raises
    ------
    SimulationError
        No such backend.
    DeviceError, SimulatorError, CycleModelError
        As :class:`Backend`.
    """
    if name not in BACKENDS:
        raise SimulationError(f"there is no backend {name!r}; there are {', '.join(BACKENDS)}")
    return BACKENDS[name](compiled, progress)


def check_log(backend: str, logs: bool, images: int) -> None:
    """Refuse an event log that a backend cannot write.

    Raises
    ------
    SimulationError
        The backend writes none, or there is another number of images than one.
    """
    if not logs:
        able = ", ".join(name for name, one in BACKENDS.items() if one.logs)
        raise SimulationError(
            f"backend {backend} knows no clock cycles and writes no event log; {able} do"
        )
    if images != 1:
        raise SimulationError(f"an event log is of one input image, and {images} are given")


def check_layer(network: Network, layer: str | None) -> None:
    """Refuse a layer that the network does not have; None is the whole network.

    Raises
    ------
    SimulationError
        No such layer; the message lists those there are.
    """
    known = [one.name for one in network.layers]
    if layer is not None and layer not in known:
        raise SimulationError(
            f"network {network.name} has no layer {layer!r}; it has {', '.join(known)}"
        )


def port_word_count(memory: MemoryImage) -> int:
    """32-bit words of trits, row memory and program on the host port, not packed."""
    clusters, columns, _ = memory.trits.shape
    trit_words = int(clusters) * int(columns) * memory.config.memory_chunks("trits")
    return trit_words + memory.rows.size + memory.program.size


def _numbers(schedule: Schedule, layer: str | None) -> range:
    """Passes of a layer; of all layers without one."""
    return range(len(schedule.passes)) if layer is None else schedule.of_layer(layer)


def _part_of(progress: Progress | None, index: int, total: int) -> Callable[[float], None] | None:
    """Progress of image ``index`` of ``total``."""
    if progress is None:
        return None
    return lambda done: progress(f"image {index + 1} of {total}", (index + done) / total)


def _report(progress: Progress | None, message: str, done: float, total: int) -> None:
    if progress is not None:
        progress(message, done / total)
