"""What the elements of tensors are, while a model runs.

Every element of a tensor that depends on the model's input is ``gain * source + offset``, where the
source is an element that some operation has computed. So whatever only moves elements (slices,
padding, permutations, concatenation, views and writes through them) or scales them costs nothing
and needs no rule of its own: the same operation is applied to the numbers of the elements. What is
known of a tensor is kept by its memory, as PyTorch keeps it, so that all views of it agree.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = ["CONSTANT", "SAMPLE", "Contents", "Elements"]

#: Instead of a source's number: the element is the constant ``offset``.
CONSTANT = -1
#: Number of an element of one sample, less that of the sample before.
SAMPLE = 1 << 44

Move = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Elements:
    """The elements of one tensor, each array of the tensor's shape.

    ``source`` holds numbers of computed elements (int64) or :data:`CONSTANT`; ``gain`` and
    ``offset`` are float64, or None for 1 and 0 everywhere.
    """

    source: torch.Tensor
    gain: torch.Tensor | None = None
    offset: torch.Tensor | None = None

    @staticmethod
    def constant(values: torch.Tensor) -> "Elements":
        """Elements that depend on nothing."""
        source = torch.full_like(values, CONSTANT, dtype=torch.int64)
        return Elements(source, None, values.detach().double())

    @staticmethod
    def of(operand: "Elements | torch.Tensor | float") -> "Elements":
        """Those of a tensor, which may be constant, or of a number."""
        if isinstance(operand, Elements):
            return operand
        return Elements.constant(torch.as_tensor(operand))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.source.shape)

    @property
    def live(self) -> torch.Tensor:
        """Where an element depends on the input."""
        return self.source >= 0

    def samples(self) -> torch.Tensor:
        """The sample that each element depends on; -1 for constants."""
        return torch.where(self.live, self.source // SAMPLE, -1)

    def gains(self) -> torch.Tensor:
        """Gains everywhere, where there are none too."""
        return torch.ones(self.shape, dtype=torch.float64) if self.gain is None else self.gain

    def offsets(self) -> torch.Tensor:
        return torch.zeros(self.shape, dtype=torch.float64) if self.offset is None else self.offset

    def moved(self, move: Move) -> "Elements":
        """After an operation that only moves, copies or drops elements."""
        return Elements(
            move(self.source),
            None if self.gain is None else move(self.gain),
            None if self.offset is None else move(self.offset),
        )

    def filled(self, move: Move, value: float = 0.0) -> "Elements":
        """As :meth:`moved`, for one that also puts zeros, which stand for ``value``."""
        source = move(self.source + 1) - 1
        gain = None if self.gain is None else move(self.gain)
        offset = None if self.offset is None else move(self.offset)
        if value:
            new = move(torch.ones(self.shape, dtype=torch.float64)) == 0
            offset = torch.where(new, value, 0.0 if offset is None else offset)
        return Elements(source, gain, offset)

    def picked(self, numbers: torch.Tensor) -> "Elements":
        """Those of one sample that have these numbers in its own order, in the numbers' shape."""
        return self.moved(lambda values: values.reshape(-1)[numbers])

    def each_picked(self, numbers: torch.Tensor) -> "Elements":
        """Of each sample those that have these numbers in its own order; (samples, *numbers*)."""
        return self.moved(lambda values: values.reshape(len(values), -1)[:, numbers])

    def expanded(self, shape: tuple[int, ...]) -> "Elements":
        return self.moved(lambda values: values.expand(shape))

    def selected(self, axis: int, index: int) -> "Elements":
        return self.moved(lambda values: values.select(axis, index))

    def reshaped(self, *shape: int) -> "Elements":
        return self.moved(lambda values: values.reshape(shape))

    def affine(
        self, gain: torch.Tensor | float = 1.0, offset: torch.Tensor | float = 0.0
    ) -> "Elements":
        """``gain * element + offset``, broadcast as PyTorch does it."""
        factor, shift = (torch.as_tensor(value).double() for value in (gain, offset))
        shape = torch.broadcast_shapes(self.shape, factor.shape, shift.shape)
        source = self.source.expand(shape)
        gains, offsets = self.gain, self.offset
        if not bool((factor == 1).all()):
            zero = (factor == 0).expand(shape)
            if bool(zero.any()):
                source = torch.where(zero, CONSTANT, source)
            gains = (self.gains() * factor).expand(shape)
            offsets = None if offsets is None else offsets * factor
        if bool((shift != 0).any()):
            offsets = self.offsets() if offsets is None else offsets
            offsets = offsets + shift
        return Elements(
            source,
            None if gains is None else gains.expand(shape),
            None if offsets is None else offsets.expand(shape),
        )

    @staticmethod
    def joined(parts: "Iterable[Elements]", join: Callable[..., torch.Tensor]) -> "Elements":
        """After an operation that only moves elements of several tensors: ``join(arrays)``."""
        parts = list(parts)
        gain = any(part.gain is not None for part in parts)
        offset = any(part.offset is not None for part in parts)
        return Elements(
            join([part.source for part in parts]),
            join([part.gains() for part in parts]) if gain else None,
            join([part.offsets() for part in parts]) if offset else None,
        )


class Contents:
    """The elements of every tensor that depends on the input, by its memory."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[StorageWeakRef, Elements]] = {}

    def get(self, tensor: torch.Tensor) -> Elements | None:
        """The elements of a tensor; None if none depends on the input, as far as is known."""
        flat = self._flat(tensor)
        if flat is None:
            return None
        size, stride, start = tensor.size(), tensor.stride(), tensor.storage_offset()
        return flat.moved(lambda values: values.as_strided(size, stride, start))

    def set(self, tensor: torch.Tensor, elements: Elements) -> None:
        """Say what the elements of a tensor are now; other views of its memory see it."""
        storage = tensor.untyped_storage()
        flat = self._flat(tensor)
        if flat is None:
            count = storage.nbytes() // tensor.element_size()
            whole = torch.empty(0, dtype=tensor.dtype).set_(
                storage,
                0,
                (count,),
                (1,),
            )
            covered = tensor.numel() == count
            flat = Elements.constant(torch.zeros(count) if covered else whole)
            if covered and elements.offset is None:
                flat = Elements(flat.source)
        gain, offset = flat.gain, flat.offset
        if elements.gain is not None and gain is None:
            gain = torch.ones(flat.shape, dtype=torch.float64)
        if elements.offset is not None and offset is None:
            offset = torch.zeros(flat.shape, dtype=torch.float64)
        flat = Elements(flat.source, gain, offset)
        size, stride, start = tensor.size(), tensor.stride(), tensor.storage_offset()
        for array, values, default in (
            (flat.source, elements.source, 0),
            (gain, elements.gain, 1),
            (offset, elements.offset, 0),
        ):
            if array is not None:
                view = array.as_strided(size, stride, start)
                view.copy_(torch.tensor(default) if values is None else values)
        self._known[storage._cdata] = (StorageWeakRef(storage), flat)
        self._sweep()

    def _flat(self, tensor: torch.Tensor) -> Elements | None:
        entry = self._known.get(tensor.untyped_storage()._cdata)
        if entry is None or entry[0].expired():
            return None
        return entry[1]

    def _sweep(self) -> None:
        for key in [key for key, (reference, _) in self._known.items() if reference.expired()]:
            del self._known[key]
