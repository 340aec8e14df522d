"""Runs a model once and records what happens to its input.

Every operation of PyTorch passes through :class:`Recorder`. Those that do not depend on the input
are run, so hooks, weights that are computed, NumPy and Python all do what they do in PyTorch; their
results are constants. The others are run too, and looked up in the table of operators.
"""

import contextlib
import inspect
import math
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.elements import CONSTANT, SAMPLE, Contents, Elements
from tritforge.model_export.frontend.graph import (
    Copy,
    Dense,
    Graph,
    Node,
    Opaque,
    Sum,
    Tail,
    Value,
    each_once,
    extract,
    present,
)
from tritforge.model_export.frontend.layouts import arrangements, as_image, images, layouts
from tritforge.model_export.frontend.regions import MOST_PIECES, parts
from tritforge.model_export.network import Arrangement

__all__ = [
    "Handler",
    "MixedSamplesError",
    "RearrangeError",
    "Recorder",
    "checksum",
    "is_users",
]

#: Gives the elements of an operation's results; it is called with the operation's arguments, where
#: tensors that depend on the input are :class:`Elements`.
Handler = Callable[..., Any]

#: Most elements that are brought into another order as a layer of their own.
MOST_SCATTERED = 4096
#: Factors that differ within a sum of parts.
_MOST_SIZES = 8
#: Methods that hand an activation's values to Python.
_VALUES = (torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__)
#: Methods that only show a tensor to people.
_SHOWN = (torch.Tensor.__repr__, torch.Tensor.__format__)


class MixedSamplesError(Exception):
    """What an operation does to one sample of a batch depends on the others, or is another for each
    of them."""


class RearrangeError(Exception):
    """The model reads its input in another order: record again, with this ``arrangement`` of
    ``shape``."""

    def __init__(self, arrangement: Arrangement, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.arrangement, self.shape = arrangement, shape


class Recorder(TorchDispatchMode):
    """Records into ``graph`` while it is active.

    Parameters
    ----------
    graph : Graph
    model : nn.Module
        Whose modules name layers.
    batch : int
        Samples that it is run with.
    operators : mapping of names without ``aten::`` to handlers
    hints : mapping of str to str
        What to write instead of an operation that is not supported.
    kept : dict, optional
        Gets the first sample's values of nodes, by their index.
    copies : bool
        Copy all weights, as the model changes some in place.
    """

    def __init__(
        self,
        graph: Graph,
        model: nn.Module,
        batch: int,
        operators: Mapping[str, Handler],
        hints: Mapping[str, str],
        kept: dict[int, NDArray[np.float32]] | None = None,
        copies: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = graph
        self.batch = batch
        self.contents = Contents()
        self.tails: dict[int, Tail] = {}  # by the number of the first element of their node
        self.error: ExportError | None = None
        self._operators = operators
        self._hints = hints
        self._names = {id(module): name for name, module in model.named_modules()}
        self._modules: list[nn.Module] = []
        self._random: dict[int, tuple[torch.UntypedStorage, str]] = {}
        self.model = model
        self.copies = copies
        self._kept = kept
        if kept is not None:
            kept.clear()
        #: Weights that nodes share with the model, and their checksums when they were read.
        self.shared: list[tuple[NDArray[np.float32], int]] = []
        self._caller: FrameType | None = None
        self.operation = ""
        self._unread: dict[int, Exception] = {}  # by the number of what nothing may read
        self._settled: dict[tuple[bytes, ...], Elements] = {}  # copies, by what they are of
        self._one: int | None = None  # number of an element that is 1

    # ----- what PyTorch calls

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch would load its compiler, to keep it out of :meth:`__torch_dispatch__`."""
        return False

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record all that is run inside."""
        self._caller = sys._getframe(2)  # beyond contextlib's
        enter = nn.modules.module.register_module_forward_pre_hook(self._enter)
        leave = nn.modules.module.register_module_forward_hook(self._leave, always_call=True)
        try:
            with _ValueWatch(self), self:
                yield
        finally:
            enter.remove()
            leave.remove()
            self._caller = None  # a frame keeps all that it has seen alive

    def _enter(self, module: nn.Module, inputs: object) -> None:
        self._modules.append(module)

    def _leave(self, module: nn.Module, inputs: object, outputs: object) -> None:
        while self._modules and self._modules.pop() is not module:
            pass

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
        known = {id(one): found for one in tensors if (found := self.contents.get(one)) is not None}
        written = _written(func, args, kwargs)
        live = any(bool(found.live.any()) for found in known.values())
        if not live or name in _SHAPE_ONLY:
            output = func(*args, **kwargs)
            self._spread_randomness(func, name, tensors, written, output)
            for tensor in written:
                if self.contents.get(tensor) is not None:
                    self.contents.set(tensor, Elements.constant(tensor))
            return output
        self.operation = name
        if name not in self._operators and func._can_decompose():
            with self:  # in inference mode PyTorch does not do so itself
                return func.decompose(*args, **kwargs)
        try:
            return self._record(func, name, args, kwargs, known, tensors, written)
        except (ExportError, MixedSamplesError) as error:
            return self._refused(func, name, args, kwargs, written, error)

    def _record(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        known: Mapping[int, Elements],
        tensors: Sequence[torch.Tensor],
        written: Sequence[torch.Tensor],
    ) -> Any:
        if name in self._hints:
            raise self.unsupported(name)
        drawn = [why for one in tensors if (why := self._is_random(one))]
        draws = torch.Tag.nondeterministic_seeded in func.tags
        if drawn or (draws and not (name == "rrelu_with_noise" and args[4:5] in ((), (False,)))):
            why = drawn[0] if drawn else self._dropout() or name
            raise self.refuse(
                f"{_common_name(why)} is random in evaluation mode too",
                "pass training=self.training to it, or leave it out"
                if "dropout" in why or why == "bernoulli_"
                else "draw the numbers once, when the model is made, and keep them in a buffer",
            )
        if name in _DECISIONS:
            raise self.refuse(
                "the model decides by the value of an activation",
                "only what is the same for every input can become hardware",
            )
        if _is_view(func):
            output = func(*args, **kwargs)
            kinds = {one.dtype for one in tree_flatten(output)[0] if isinstance(one, torch.Tensor)}
            if kinds - {one.dtype for one in tensors}:
                raise self.unsupported("another reading of an activation's bits")
            return output
        if name.removesuffix("_") not in _WRITES:
            self.raise_unread(known)
        base = name.removesuffix("_") if written else name
        if base.startswith("bitwise_") and all(one.dtype == torch.bool for one in tensors):
            base = base.replace("bitwise", "logical")
        handler = self._operators.get(base)
        if handler is None:
            raise self.unsupported(base)

        def meant(one: Any) -> Any:
            return known.get(id(one), one) if isinstance(one, torch.Tensor) else one

        arguments = tree_map(meant, args)
        options = {key: tree_map(meant, one) for key, one in kwargs.items() if key != "out"}
        try:
            inspect.signature(handler).bind(self, *arguments, **options)
        except TypeError as error:
            raise self.unsupported(f"this form of {_common_name(base)} ({error})") from error
        try:
            found = handler(self, *arguments, **options)
        except (ExportError, MixedSamplesError, RearrangeError):
            raise
        except Exception as error:
            func(*args, **kwargs)  # which raises where it is the model's own error
            raise self.refuse(
                f"{_common_name(base)} could not be followed ({type(error).__name__}: {error}); "
                "this is a fault of tritforge"
            ) from error
        output = func(*args, **kwargs)
        outputs = output if isinstance(output, tuple | list) else [output]
        results = found if isinstance(found, tuple | list) else [found]
        for number, tensor in enumerate(outputs):
            if not isinstance(tensor, torch.Tensor) or not tensor.numel():
                continue
            elements = results[number] if number < len(results) else None
            if elements is None:
                elements = self._opaque(tensor, self._no_result(number))
            if elements.shape != tuple(tensor.shape):
                elements = elements.expanded(tuple(tensor.shape))
            self.contents.set(tensor, elements)
            if tensor.is_floating_point() and tensor.element_size() < 4:
                self.graph.reduced = str(tensor.dtype).removeprefix("torch.")
            if self._kept is not None:
                self._keep(tensor, elements, self._kept)
        return output

    def _keep(
        self, tensor: torch.Tensor, elements: Elements, kept: dict[int, NDArray[np.float32]]
    ) -> None:
        """Remember the values of nodes that a new tensor is, as they are."""
        single = elements.source < SAMPLE
        owner, place = self.graph.owners(elements.source[single])
        values = tensor[single].float().numpy()
        plain = np.ones(len(values), bool)
        for array, neutral in ((elements.gain, 1), (elements.offset, 0)):
            plain &= array is None or array[single].numpy() == neutral
        for index in present(owner):
            own, node = (owner == index) & plain, self.graph.nodes[index]
            if int(index) not in kept and each_once(place[own], math.prod(node.shape)):
                found = np.empty(math.prod(node.shape), np.float32)
                found[place[own]] = values[own]
                kept[int(index)] = found.reshape(node.shape)

    def _refused(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        written: Sequence[torch.Tensor],
        error: ExportError | MixedSamplesError,
    ) -> Any:
        """The results of an operation that cannot be recorded, which nothing may read."""
        if isinstance(error, ExportError):
            self.error = self.error or (error if name in _DECISIONS or _is_view(func) else None)
            if self.error is error:
                raise error
        output = func(*args, **kwargs)
        tensors = [one for one in tree_flatten(output)[0] if isinstance(one, torch.Tensor)]
        if any(one.is_complex() for one in tensors):
            self.error = self.error or self.unsupported("arithmetic with complex numbers")
            raise self.error from error
        for tensor in [*tensors, *written]:
            self.contents.set(tensor, self._opaque(tensor, error))
        return output

    def _opaque(self, tensor: torch.Tensor, error: Exception) -> Elements:
        """Elements of a result that nothing may read."""
        node = Opaque(self.operation, self.place(), (1, 1, 1), error=error)
        self.graph.add(node)
        self._unread[node.number] = error
        return Elements(torch.full(tuple(tensor.shape), node.number))

    def _no_result(self, number: int) -> Exception:
        """What is wrong with a result that a handler has none for."""
        if number == 0:
            return MixedSamplesError(self.operation)
        return self.refuse(
            f"the model uses result {number + 1} of {_common_name(self.operation)}, which is not "
            "supported"
        )

    def raise_unread(self, known: Mapping[int, Elements]) -> None:
        """Refuse what computes with a result that nothing may read, as that was refused."""
        if self._unread:
            numbers = torch.tensor([*self._unread])
            for elements in known.values():
                found = elements.source[torch.isin(elements.source, numbers)]
                if found.numel():
                    raise self._unread[int(found.min())]

    # ----- randomness

    def _is_random(self, tensor: torch.Tensor) -> str | None:
        found = self._random.get(tensor.untyped_storage()._cdata)
        return None if found is None else found[1]

    def _spread_randomness(
        self,
        func: Any,
        name: str,
        tensors: Sequence[torch.Tensor],
        written: Sequence[torch.Tensor],
        output: Any,
    ) -> None:
        why = next((why for one in tensors if (why := self._is_random(one))), None)
        if torch.Tag.nondeterministic_seeded in func.tags:
            why = self._dropout() or name
        if why is None:
            return
        for one in [*tree_flatten(output)[0], *written]:
            if isinstance(one, torch.Tensor):
                storage = one.untyped_storage()
                self._random[storage._cdata] = (storage, why)  # kept: its address stays taken

    def _dropout(self) -> str | None:
        """Name of the dropout function that draws, if one does."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if "dropout" in frame.f_code.co_name and "torch" in frame.f_code.co_filename:
                return frame.f_code.co_name
            frame = frame.f_back
        return None

    # ----- errors

    @property
    def registered(self) -> bool:
        """Whether the module that runs is one that the model knows, so that eval() reaches it."""
        return not self._modules or id(self._modules[-1]) in self._names

    def place(self) -> str:
        """Layer, type, and line of the model at which an operation happens."""
        module = self._modules[-1] if self._modules else None
        path = "" if module is None else self._names.get(id(module), "")
        kind = "" if module is None else type(module).__name__
        layer = f"layer {path} ({kind})" if path else f"layer {_common_name(self.operation)}"
        line = _line(self._caller)
        return f"{layer}, {line}" if line else layer

    def refuse(self, what: str, hint: str = "") -> ExportError:
        """An error at the operation that is being recorded."""
        for module in reversed(self._modules):
            for kinds, reason in _REFUSED_MODULES:
                if isinstance(module, kinds):
                    what, hint = f"{type(module).__name__} is not supported", reason
        return ExportError(f"{self.place()}: {what}" + (f"; {hint}" if hint else ""))

    def unsupported(self, what: str, hint: str = "") -> ExportError:
        hint = hint or self._hints.get(what, "see docs/operators.md for what is")
        return self.refuse(f"{_common_name(what)} is not supported", hint)

    # ----- for handlers

    def common_name(self) -> str:
        """What people call the operation that is being recorded."""
        return _common_name(self.operation.rstrip("_"))

    def layer_name(self, operation: str) -> str:
        """Name of a layer that the operation becomes: its module, or function within a module."""
        module = self._modules[-1] if self._modules else None
        path = "" if module is None else self._names.get(id(module), "")
        if module is None or next(module.children(), None) is not None or not path:
            return f"{path}.{operation}" if path else operation
        return path

    def add(self, node: Node) -> Elements:
        """A node's elements, (batch, channels, height, width)."""
        if min(node.shape) < 1:
            raise self.refuse(
                f"its output would have {node.shape[1]} x {node.shape[2]} pixels; the kernel does "
                "not fit its input"
            )
        self.graph.add(node)
        return Elements(self.graph.numbers(node, self.batch))

    def one_sample(self, elements: Elements) -> Elements:
        """The elements of the first sample; the first axis counts samples, all alike."""
        shape = elements.shape
        if not shape or shape[0] != self.batch:
            raise MixedSamplesError(self.operation)
        step = torch.arange(self.batch).reshape(-1, *[1] * (len(shape) - 1)) * SAMPLE
        first = elements.source[:1]
        expected = torch.where(first >= 0, first + step, first)
        alike = torch.equal(elements.source, expected) and bool((first < SAMPLE).all())
        for values in (elements.gain, elements.offset):
            alike = alike and (values is None or torch.equal(values, values[:1].expand(shape)))
        if not alike:
            raise MixedSamplesError(self.operation)
        return elements.moved(lambda one: one[0])

    def image(self, elements: Elements, what: str = "") -> Value:
        """Elements of one sample, (channels, height, width), as a value; they are copied by a layer
        of their own where they are in an order that a layer cannot read."""
        value = extract(self.graph, elements)
        if value is None:
            self._rearrange(elements)
            value = self._in_parts(elements)
        if value is None:
            raise self.refuse(
                f"{what or _common_name(self.operation)} reads activations in an order that "
                "is no channels, rows and columns of what computed them",
                "rows and columns may be cut, padded, repeated or reversed, but not exchanged",
            )
        return value

    def _in_parts(self, *terms: Elements) -> Value | None:
        """The sum of terms of one sample, (channels, height, width), as a value that a layer of its
        own puts together of parts that are rows and columns; None where there are too many."""
        channels, height, width = terms[0].shape
        values: list[Value] = []
        for term in terms:
            found = parts(self.graph, term, self._one)
            if found is None and self._one is None:
                self._one = self._constant_one()
                found = parts(self.graph, term, self._one)
            if found is None:
                return None
            values += found
        if sum(len(value.pieces) for value in values) > MOST_PIECES:
            return None
        node = Sum(
            f"{self.layer_name(_common_name(self.operation))}.input",
            self.place(),
            (channels, height, width),
            values=tuple(values),
            kind="identity",
        )
        self.add(node)
        return extract(self.graph, Elements(self.graph.numbers(node, 1)[0]))

    def sum_of_parts(self, terms: Sequence[Elements]) -> Elements | None:
        """The sum of (batch, channels, height, width) or (batch, channels, length), which may have
        another gain at each row and column; None where it has too many."""
        singles = [self.one_sample(term) for term in terms]
        shape = as_image(singles[0].shape)
        sizes = torch.cat([term.gains().reshape(-1) for term in terms]).abs().unique()
        if shape is None or len(sizes) > _MOST_SIZES:
            return None
        value = self._in_parts(*(single.reshaped(*shape) for single in singles))
        if value is None:
            return None
        return Elements(self.graph.numbers(value.nodes[0], self.batch)).reshaped(*terms[0].shape)

    def _constant_one(self) -> int:
        """Number of an element that is 1 for every input: a channel of a layer of one pixel."""
        source = torch.tensor([0, CONSTANT]).reshape(2, 1, 1)
        zero_and_one = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)
        value = extract(self.graph, Elements(source, zero_and_one, zero_and_one))
        assert value is not None
        node = Copy("constant", self.place(), value.shape, value=value)
        self.add(node)
        return node.number + 1

    def _rearrange(self, elements: Elements) -> None:
        """Ask for another order of the input's values, if that makes rows and columns of these."""
        owner, place = self.graph.owners(elements.source)
        shape = self.graph.sample_shape
        if self.graph.rearranged or not (owner == 0).any():
            return
        for sizes, steps in arrangements(shape, elements.shape):
            index = Arrangement(shape, steps).numbers(sizes)
            if len(np.unique(index)) != math.prod(shape):
                continue
            arranged = np.empty(index.size, np.int64)  # by the number in the order until now
            before = self.graph.nodes[0].shape
            now = np.arange(index.size).reshape(before)
            if self.graph.arranged is not None:
                now = self.graph.arranged.numbers(before)
            in_new_order = np.empty(index.size, np.int64)
            in_new_order[index.ravel()] = np.arange(index.size)
            arranged[:] = in_new_order[now.ravel()]
            moved = torch.from_numpy(np.where(owner == 0, arranged[place], place))
            source = torch.where(torch.from_numpy(owner == 0), moved, elements.source)
            own = self.graph.nodes[0]
            own.shape = sizes
            found = extract(self.graph, Elements(source, elements.gain, elements.offset))
            own.shape = before
            if found is not None:
                raise RearrangeError(Arrangement(shape, steps), sizes)

    def settled(self, elements: Elements) -> Elements:
        """The same elements, computed as they are by a layer of their own; (batch, ..)."""
        key = _content(elements)
        if key not in self._settled:
            self._settled[key] = self._copied(elements)
        return self._settled[key]

    def as_settled(self, elements: Elements) -> Elements:
        """The copy of elements by a layer of their own, if there is one already."""
        return self._settled.get(_content(elements), elements)

    def _copied(self, elements: Elements) -> Elements:
        one = self.one_sample(elements)
        value, _ = self.laid_out(one)
        name = self.layer_name(_common_name(self.operation))
        node: Node
        if value is not None:
            node = Copy(name, self.place(), value.shape, value=value)
        else:
            scattered = self.graph.scattered(one)
            count = len(scattered.owner)
            if count > MOST_SCATTERED:
                self._rearrange(one.reshaped(*(images(one.shape) or [(count, 1, 1)])[0]))
                raise self.refuse("its input is in an order that a layer cannot read")
            weight = torch.eye(count).numpy()
            node = Dense(
                name,
                self.place(),
                (count, 1, 1),
                elements=scattered,
                weight=weight,
                bias=None,
                trained=False,
            )
        return self.add(node).reshaped(*elements.shape)

    def laid_out(self, one: Elements) -> tuple[Value | None, tuple[int, ...]]:
        """Elements of one sample as channels, rows and columns, and which of these (0, 1, 2) each
        of their axes is; None where they are in another order."""
        for shape, axes in layouts(one.shape):
            value = extract(self.graph, one.reshaped(*shape))
            if value is not None:
                return value, axes
        for shape, axes in layouts(one.shape):
            value = self._in_parts(one.reshaped(*shape))
            if value is not None:
                return value, axes
        return None, ()


class _ValueWatch(TorchFunctionMode):
    """Sees what hands an activation's values to Python without an operation of PyTorch."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _SHOWN:
            with _disable_current_modes():
                return func(*args, **(kwargs or {}))
        if func in _VALUES and isinstance(args[0], torch.Tensor):
            found = self._recorder.contents.get(args[0])
            if found is not None and bool(found.live.any()):
                self._recorder.operation = func.__name__
                error = self._recorder.refuse(
                    f"{func.__name__} takes an activation's values out of PyTorch",
                    "what depends on the input must be computed by PyTorch",
                )
                self._recorder.error = self._recorder.error or error
                raise error
        return func(*args, **(kwargs or {}))


#: Modules whose parts are refused as what they are together.
_REFUSED_MODULES: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    (
        (nn.RNNBase, nn.RNNCellBase),
        "recurrent layers feed their results back into themselves",
    ),
    (
        (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer),
        "attention multiplies activations with one another, which the array cannot",
    ),
)
#: Results that depend on the shapes of tensors alone.
_SHAPE_ONLY = frozenset(
    [
        "empty_like",
        "zeros_like",
        "ones_like",
        "full_like",
        "new_empty",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty_strided",
        "rand_like",
        "randn_like",
        "randint_like",
        "sym_size",
        "sym_numel",
        "sym_stride",
    ]
)
#: Operations after which nothing of what was there before is left.
_WRITES = frozenset(["copy", "fill", "zero"])
#: Operations whose result is a decision by values.
_DECISIONS = frozenset(
    [
        "_local_scalar_dense",
        "is_nonzero",
        "equal",
        "nonzero",
        "masked_select",
        "unique2",
        "_unique2",
        "allclose",
        "nonzero_static",
    ]
)


def checksum(array: NDArray[np.float32]) -> int:
    """A number that is another one when the array has been changed, by whatever means."""
    return zlib.crc32(np.ascontiguousarray(array).data)


def _content(elements: Elements) -> tuple[bytes, ...]:
    """A key that is the same for the same elements in the same shape."""
    parts = (elements.source, elements.gains(), elements.offsets())
    return (repr(elements.shape).encode(), *(part.contiguous().numpy().tobytes() for part in parts))


def _is_view(func: Any) -> bool:
    """Whether an operation's results are views of its arguments."""
    returns = [one.alias_info for one in func._schema.returns]
    return any(info is not None and not info.is_write for info in returns)


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The tensors that an operation changes."""
    found = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[number] if number < len(args) else kwargs.get(argument.name)
        found += [one for one in tree_flatten(value)[0] if isinstance(one, torch.Tensor)]
    return found


#: What people call operations that PyTorch calls otherwise.
_COMMON = {
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "_prelu_kernel": "PReLU",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "native_batch_norm": "batch_norm",
    "max_pool2d_with_indices": "max_pool2d",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_local_scalar_dense": "item",
    "constant_pad_nd": "pad",
    "bernoulli_": "a random draw",
    "": "input",
}


def _common_name(operation: str) -> str:
    return _COMMON.get(operation, operation)


def is_users(frame: FrameType) -> bool:
    """Whether code is the user's, not a library's."""
    filename, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__"))
    ours = module.startswith(("tritforge.", "torch."))
    return not ours and not filename.startswith("<") and "site-packages" not in filename


def _line(caller: FrameType | None) -> str:
    """File and line of the model's code that is running below ``caller``; "" where it is not
    known."""
    frame: FrameType | None = None if caller is None else sys._getframe(1)
    while frame is not None and frame is not caller:
        if is_users(frame):
            return f"{os.path.basename(frame.f_code.co_filename)} line {frame.f_lineno}"
        frame = frame.f_back
    return ""
