"""A model, run once: :func:`record` gives the graph of what it computes from its input."""

import contextlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.elements import Elements
from tritforge.model_export.frontend.graph import Copy, Graph, Input, Node, Opaque
from tritforge.model_export.frontend.layouts import as_image
from tritforge.model_export.frontend.operators.table import HINTS, OPERATORS
from tritforge.model_export.frontend.recorder import (
    MixedSamplesError,
    RearrangeError,
    Recorder,
    checksum,
    is_users,
)
from tritforge.model_export.network import Arrangement

__all__ = ["check_model", "failure", "one_output", "plain_running", "record"]

#: Samples that a model is recorded with. With two it shows whether one depends on the other.
_BATCH = 2
#: Characters of a message of PyTorch's that ours quote.
_LONGEST = 200


def record(
    model: nn.Module,
    samples: NDArray[Any],
    *,
    name: str = "network",
    kept: dict[int, NDArray[np.float32]] | None = None,
) -> Graph:
    """Run a model on a few samples, in evaluation mode, and record what it computes of them.

    Parameters
    ----------
    model : nn.Module
        With its weights; its mode is put back, all else that running it changes is not.
    samples : array (samples, ..)
        Inputs, one or more; the first are used.
    name : str
        What errors call the network.
    kept : dict, optional
        Gets what the first sample's nodes are, (channels, height, width), by their index, where the
        model has that as a tensor.

    Raises
    ------
    ExportError
        What depends on the input is computed by an operation that is not supported (named, with its
        place in the model), decides what the model does, or is random; the model fails on the
        samples, or returns something else than one tensor.
    """
    check_model(model, name)
    first = np.ascontiguousarray(samples[:1].astype(np.float32))
    problem: ExportError | None = None
    for batch in (_BATCH, 1):
        inputs = torch.from_numpy(np.repeat(first, batch, axis=0))
        try:
            return _record(model, inputs, name, kept)
        except MixedSamplesError as mixed:
            problem = problem or ExportError(
                f"network {name} computes one sample's outputs from others of the batch, in "
                f"{mixed.args[0] if mixed.args else 'an operation'}; each must stand alone"
            )
        except _ModelError as error:
            problem = problem or error
        except ExportError as error:
            raise (problem if batch == 1 and problem is not None else error) from error
    assert problem is not None
    raise problem


class _ModelError(ExportError):
    """The model itself raises."""


class _ChangedWeightsError(Exception):
    """The model changes weights in place that it has used before."""


def _record(
    model: nn.Module,
    inputs: torch.Tensor,
    name: str,
    kept: dict[int, NDArray[np.float32]] | None,
) -> Graph:
    given = tuple(inputs.shape[1:])
    shape = as_image(given) or (inputs[0].numel(), 1, 1)
    arranged: Arrangement | None = None
    if len(given) not in (1, 3):
        arranged = Arrangement(given, (shape[1] * shape[2], shape[2], 1))
    rearranged = copies = False
    while True:
        graph = Graph(name, given)
        graph.arranged, graph.rearranged = arranged, rearranged
        recorder = Recorder(graph, model, len(inputs), OPERATORS, HINTS, kept, copies=copies)
        try:
            _run(recorder, inputs.clone(), shape)
            return graph
        except RearrangeError as wanted:
            arranged, shape, rearranged = wanted.arrangement, wanted.shape, True
        except _ChangedWeightsError:
            copies = True


def _run(recorder: Recorder, inputs: torch.Tensor, shape: tuple[int, int, int]) -> None:
    graph, model = recorder.graph, recorder.model
    node = Input("input", "the input", shape)
    graph.add(node)
    numbers = graph.numbers(node, len(inputs))
    if graph.arranged is None:
        source = numbers.reshape(inputs.shape)
    else:
        flat = torch.empty(len(inputs), inputs[0].numel(), dtype=torch.int64)
        flat[:, torch.from_numpy(graph.arranged.numbers(shape))] = numbers
        source = flat.reshape(inputs.shape)
    recorder.contents.set(inputs, Elements(source))
    try:
        with plain_running(model), recorder.recording():
            output = model(inputs)
    except (MixedSamplesError, RearrangeError, ExportError):
        raise
    except (Exception, SystemExit) as error:
        if recorder.error is not None:
            raise recorder.error from error
        raise _ModelError(failure(model, graph.name, error, inputs)) from error
    if recorder.error is not None:  # the model has caught it
        raise recorder.error
    tensor = one_output(output, graph.name)
    if any(checksum(weight) != before for weight, before in recorder.shared):
        raise _ChangedWeightsError
    _finish(recorder, tensor, node)


def _finish(recorder: Recorder, tensor: torch.Tensor, source: Node) -> None:
    graph = recorder.graph
    elements = recorder.contents.get(tensor)
    if elements is None or not bool(elements.live.any()):
        raise ExportError(f"network {graph.name}: its output does not depend on its input")
    recorder.operation = "output"
    recorder.raise_unread({0: elements})
    if not elements.shape or elements.shape[0] != recorder.batch:
        raise MixedSamplesError("output")
    one = recorder.one_sample(elements)
    graph.output_shape = one.shape
    owner, place = graph.owners(one.source.reshape(-1))
    owners = np.unique(owner)
    tail = recorder.tails.get(int(owners[0])) if len(owners) == 1 else None
    if tail is not None and one.gain is None and one.offset is None:
        node = graph.nodes[int(owners[0])]
        assert isinstance(node, Copy)
        if np.array_equal(place, np.arange(np.prod(node.shape))):
            graph.tail, graph.result = tail, node.value
    if graph.result is None:
        graph.result = _result(recorder, elements, one, owner, place)
    unread = [node for node in graph.nodes if isinstance(node, Opaque)]
    if unread:
        live = _live(graph)
        for node in unread:
            if node.index in live:
                raise node.error
    for index in recorder.tails:
        if index in _live(graph):
            ending = graph.nodes[index]
            raise ExportError(
                f"{ending.where}: a {recorder.tails[index].name} that is not the network's end is "
                "not supported"
            )


def _result(
    recorder: Recorder,
    elements: Elements,
    one: Elements,
    owner: NDArray[np.int64],
    place: NDArray[np.int64],
) -> Any:
    graph = recorder.graph
    if (owner == owner[0]).all() and owner[0] >= 0:
        node = graph.nodes[int(owner[0])]
        if np.array_equal(place, np.arange(np.prod(node.shape))):
            return recorder.image(one.reshaped(*node.shape))
    value, _ = recorder.laid_out(one)
    if value is not None:
        return value
    settled = recorder.one_sample(recorder.settled(elements))
    return recorder.image(settled.reshaped(*graph.nodes[-1].shape))


def _live(graph: Graph) -> set[int]:
    """Indices of the nodes that the result depends on."""
    assert graph.result is not None
    todo, found = list(graph.result.nodes), set()
    while todo:
        node = todo.pop()
        if node.index not in found:
            found.add(node.index)
            todo += [one for value in node.reads for one in value.nodes]
    return found


#: Runs TorchScript as it was written; PyTorch documents it, but does not export its name.
_unoptimized = vars(torch.jit)["optimized_execution"]


def _eager() -> contextlib.AbstractContextManager[object]:
    """Nothing is compiled. The compiler takes seconds to load: where it is not, nothing uses it."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


@contextlib.contextmanager
def plain_running(model: nn.Module) -> Iterator[None]:
    """Run a model as it is in evaluation mode: no gradients, nothing compiled."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with (
            torch.no_grad(),
            _eager(),
            _unoptimized(False),
        ):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def one_output(output: object, name: str) -> torch.Tensor:
    """The one tensor that a model returns, alone or in a tuple or list."""
    if isinstance(output, tuple | list) and len(output) == 1:
        output = output[0]
    if isinstance(output, torch.Tensor):
        if output.layout != torch.strided:
            raise ExportError(
                f"network {name} returns a sparse tensor; it must return a dense one (to_dense())"
            )
        if not output.numel():
            raise ExportError(
                f"network {name} returns a tensor without elements, of shape {tuple(output.shape)}"
            )
        return output
    if output is None:
        what = "nothing (None)"
    elif isinstance(output, tuple | list):
        what = f"{len(output)} results"
    elif isinstance(output, Mapping):
        what = f"a dictionary ({', '.join(str(key) for key in [*output][:4])})"
    else:
        what = f"an object of type {type(output).__name__}"
    raise ExportError(
        f"network {name} returns {what}; it must return one tensor, so wrap it in a module that "
        "does"
    )


def failure(model: nn.Module, name: str, error: BaseException, samples: torch.Tensor) -> str:
    """One sentence for a model that raises on samples: where, and what PyTorch says."""
    names = {id(module): path for path, module in model.named_modules() if path}
    layer = line = ""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        module = frame.f_locals.get("self")
        layer = names.get(id(module), layer)
        if is_users(frame):
            line = f"{os.path.basename(frame.f_code.co_filename)} line {trace.tb_lineno}"
        trace = trace.tb_next
    place = ", ".join(part for part in (layer and f"layer {layer}", line) if part)
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} .."
    if "should be the same" in text or "same dtype" in text:
        text += "; models are run in float32, so forward must not cast to another type"
    shape = tuple(samples.shape[1:])
    if len(shape) == 3 and shape[2] in (1, 3) and shape[0] > 4 and "channels" in text:
        text += "; if the samples' channels come last, x.transpose(0, 3, 1, 2) puts them first"
    return (
        f"network {name} cannot be run on samples of shape {shape}: "
        f"{place}{': ' if place else ''}{type(error).__name__}: {text}"
    )


def check_model(model: nn.Module, name: str) -> None:
    """Refuse a model that cannot be run at all: without values, or with several inputs."""
    if any(one.is_meta for one in (*model.parameters(), *model.buffers())):
        raise ExportError(f"network {name} has weights on the device meta, which have no values")
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):  # TorchScript has none
        return
    needed = [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) > 1:
        raise ExportError(
            f"network {name} takes {len(needed)} inputs ({', '.join(needed)}); one is supported"
        )
