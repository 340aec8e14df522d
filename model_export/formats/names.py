"""Names of tensors in a checkpoint, compared with those of a model.

People save the same network under many names: ``module.`` of ``nn.DataParallel`` and
``_orig_mod.`` of ``torch.compile``, before the names or inside them; ``model.`` or ``net.`` of a
training framework; a dictionary in a dictionary. None of these is looked for: the prefix is what
stands before most of the model's names.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from tritforge.model_export.errors import CheckpointError

__all__ = [
    "Aligned",
    "align",
    "common_prefix",
    "is_beside",
    "join",
    "printable",
    "split_name",
    "weight_of",
]

#: Modules that wrap another one and have no tensors of their own.
WRAPPERS = {
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
}
#: What people call the network itself, where a copy of it under another name is beside it.
USUAL = WRAPPERS | {
    "state_dict",
    "model_state_dict",
    "net_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "params",
    "weights",
}
#: Tensors that are no part of what a network computes, by the last part of their name.
COUNTERS = {
    "n_averaged",
    "num_batches_tracked",
    "num_updates",
    "total_ops",
    "total_params",
    "threshold",
    "threshold_kind",
    "t",
}
#: First part of names that belong to training.
TRAINING = re.compile(
    r"^(criterion|loss|losses|loss_fn|loss_func|.*_loss|.*_criterion|metrics?"
    r"|(train|val|valid|test)_\w+|optimizers?|lr_schedulers?)$"
)
#: Of batch norm: a network computes without it, and old checkpoints have none.
_COUNT = "num_batches_tracked"
_PARTS = re.compile(r"_(orig|mask|g|v|u)$")

Name = tuple[str, ...]


@dataclass
class Aligned:
    """A checkpoint's tensors under a model's names."""

    tensors: dict[str, Tensor]
    beside: dict[str, Tensor] = field(default_factory=dict)  # outside the network, by full name
    prefix: Name = ()
    notes: list[str] = field(default_factory=list)


def printable(name: str, longest: int = 64) -> str:
    """A name from a file, as a message may quote it."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= longest else f"{name[: longest // 3]}..{name[-longest // 2 :]}"


def join(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name


def split_name(name: str) -> tuple[str, str]:
    """Layer and tensor: the parts of a parametrized weight belong to its layer."""
    layer, separator, rest = name.partition("parametrizations.")
    if separator and (not layer or layer.endswith(".")):
        return layer.removesuffix("."), separator + rest
    layer, _, tensor = name.rpartition(".")
    return layer, tensor


def weight_of(tensor: str) -> str:
    """The tensor that this one is a part of: ``weight`` for ``weight_g``, ``weight_mask`` and
    ``parametrizations.weight.original0``."""
    if tensor.startswith("parametrizations."):
        return tensor.split(".")[1]
    return _PARTS.sub("", tensor)


def align(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    layers: Collection[str],
    where: str,
) -> Aligned:
    """Give the tensors of a checkpoint the names that the model has for them.

    A model's own names are taken as they are. Else the prefix is the one that gives most of the
    model's names, first of names as they are, then of names without the modules that wrap others.

    Parameters
    ----------
    expected
        The model's state dict.
    layers
        Names of its modules.

    Raises
    ------
    CheckpointError
        The network is there twice, under prefixes neither of which is the usual one.
    """
    needed = {name for name in expected if not name.endswith(_COUNT)}
    if needed <= tensors.keys():
        return _without_copies(tensors, expected, layers)
    best = _Alignment(tensors, expected, layers, frozenset())
    if best.count < best.most:
        other = _Alignment(tensors, expected, layers, frozenset(WRAPPERS))
        if other.count > best.count:
            best = other
    return best.result(where)


def _without_copies(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], layers: Collection[str]
) -> Aligned:
    """The tensors apart from further ones of the whole network, such as a moving average."""
    aligned = Aligned(dict(tensors))
    extra = [
        name for name in tensors if name not in expected and not is_beside(name, tensors[name])
    ]
    if extra:
        found = _Alignment({name: tensors[name] for name in extra}, expected, layers, frozenset())
        copies = {prefix for (prefix, own), votes in found.votes.items() if votes == found.most}
        for name in extra:
            if any(found.given[name][: len(prefix)] == prefix for prefix in copies):
                aligned.beside[name] = aligned.tensors.pop(name)
    return aligned


class _Alignment:
    """Prefixes that a checkpoint and a model have before common names, and how many these are.

    ``wrappers`` are parts of names that count as absent.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        expected: Mapping[str, Tensor],
        layers: Collection[str],
        wrappers: frozenset[str],
    ) -> None:
        self.tensors, self.expected, self.layers = tensors, expected, layers
        self.wrappers = wrappers
        self.given = {name: self.weight(name) for name in tensors}
        wanted = {self.weight(name) for name in expected if not name.endswith(_COUNT)}
        self.most = len(wanted)
        self.votes: dict[tuple[Name, Name], int] = {}
        self.shapes: dict[tuple[Name, Name], int] = {}
        given_shapes, wanted_shapes = self._shapes(tensors), self._shapes(expected)
        shared = common_prefix(wanted)
        for count in range(len(shared) + 1):
            short = {name[count:] for name in wanted}
            found: dict[Name, set[Name]] = defaultdict(set)
            for name in dict.fromkeys(self.given.values()):
                for start in range(len(name)):
                    if name[start:] in short:
                        found[name[:start]].add(name[start:])
            # "weight" and "bias" alone say nothing: then no other layer may be there
            alone = all(len(name) == 1 for name in short)
            for prefix, names in found.items():
                if alone and not self._all_under(prefix):
                    continue
                pair = prefix, shared[:count]
                self.votes[pair] = len(names)
                self.shapes[pair] = sum(
                    not given_shapes[prefix + name].isdisjoint(wanted_shapes[pair[1] + name])
                    for name in names
                )
        self.count = max(self.votes.values(), default=0)

    def _parts(self, name: str) -> Name:
        return tuple(part for part in name.split(".") if part and part not in self.wrappers)

    def weight(self, name: str) -> Name:
        layer, tensor = split_name(name)
        return (*self._parts(layer), weight_of(tensor))

    def _all_under(self, prefix: Name) -> bool:
        return all(
            name[: len(prefix)] == prefix or is_beside(".".join(name), self.tensors[full])
            for full, name in self.given.items()
        )

    def _shapes(self, tensors: Mapping[str, Tensor]) -> dict[Name, set[tuple[int, ...]]]:
        found: dict[Name, set[tuple[int, ...]]] = defaultdict(set)
        for name, tensor in tensors.items():
            found[self.weight(name)].add(() if is_lazy(tensor) else tuple(tensor.shape))
        return found

    def result(self, where: str) -> Aligned:
        if not self.count:
            return Aligned(dict(self.tensors))
        best = [pair for pair, count in self.votes.items() if count == self.count]
        most = max(self.shapes[pair] for pair in best)
        best = [pair for pair in best if self.shapes[pair] == most]
        fewest = min(len(own) for _, own in best)
        prefixes = [(prefix, own) for prefix, own in best if len(own) == fewest]
        prefix, own = prefixes[0]
        notes = []
        if len(prefixes) > 1:
            prefix, own = self._usual(prefixes, where)
            others = [".".join(other) or "the top" for other, _ in prefixes if other != prefix]
            notes = [f"taken: {'.'.join(prefix) or 'the top'}; also there: {', '.join(others)}"]
        aligned = Aligned({}, {}, prefix, notes)
        by_layer: dict[Name, list[str]] = defaultdict(list)
        for layer in self.layers:
            parts = self._parts(layer)
            if parts[: len(own)] == own:
                by_layer[parts[len(own) :]].append(layer)
        for name, tensor in self.tensors.items():
            if self.given[name][: len(prefix)] != prefix:
                aligned.beside[name] = tensor
                continue
            layer, last = split_name(name)
            new = self._renamed(self._parts(layer)[len(prefix) :], last, by_layer)
            if new in aligned.tensors:
                raise CheckpointError(
                    f"{where} has {printable(new)} twice, under names that differ in a wrapper"
                )
            aligned.tensors[new] = tensor
        return aligned

    def _usual(self, prefixes: list[tuple[Name, Name]], where: str) -> tuple[Name, Name]:
        """Of prefixes that fit alike, the one of usual names."""
        unusual = [sum(part not in USUAL for part in prefix) for prefix, _ in prefixes]
        best = min(unusual)
        if unusual.count(best) > 1 and not self._all_equal([prefix for prefix, _ in prefixes]):
            names = [printable(".".join(prefix)) or "the top" for prefix, _ in prefixes]
            raise CheckpointError(
                f"{where} has the network's tensors {len(names)} times, under "
                f"{', '.join(names[:-1])} and {names[-1]}; give the state dict of one of them"
            )
        return prefixes[unusual.index(best)]

    def _all_equal(self, prefixes: list[Name]) -> bool:
        """Whether all prefixes stand before the same numbers."""
        copies = [
            [tensor for name, tensor in self.tensors.items() if self.given[name][: len(p)] == p]
            for p in prefixes
        ]
        return all(
            len(copy) == len(copies[0])
            and all(torch.equal(a, b) for a, b in zip(copy, copies[0], strict=True))
            for copy in copies
        )

    def _renamed(self, layer: Name, tensor: str, by_layer: Mapping[Name, list[str]]) -> str:
        known = by_layer.get(layer, [])
        for wanted in (tensor, weight_of(tensor)):
            exact = [own for own in known if join(own, wanted) in self.expected]
            if len(exact) == 1:
                return join(exact[0], tensor)
        return join(max(known, key=len, default=".".join(layer)), tensor)


def common_prefix(names: Iterable[Name]) -> Name:
    """What all names begin with, their last part left out."""
    shared: list[str] = []
    for parts in zip(*(name[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return tuple(shared)


def is_beside(name: str, tensor: Tensor) -> bool:
    """Whether a tensor that the model has no name for changes nothing that it computes."""
    return (
        name.rpartition(".")[2] in COUNTERS
        or TRAINING.match(name.partition(".")[0]) is not None
        or (tensor.dim() == 0 and not tensor.is_floating_point())
    )
