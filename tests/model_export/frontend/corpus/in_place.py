"""Writes: through views and aliases, into slices, with ``out=``, by masks."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.model_export.frontend.corpus.outcomes import Family, headed

FAMILY = Family("in place")


def through(write):
    """``write(x)`` changes x by way of something else; its own value is dropped."""

    def function(m, x):
        y = m.a(x)
        write(y)
        return m.b(y)

    return lambda: headed(function)


def _assign(x, index, value):
    x[index] = value


def _half(x):
    _, second = x.chunk(2, 1)
    second.neg_()


def _unbound(x):
    for number, one in enumerate(x.unbind(1)):
        if number % 2:
            one.mul_(0.5)


def _iterated(x):
    for sample in x:
        sample.relu_()


def _rows(x):
    for n in range(0, x.shape[2], 2):
        x[:, :, n] += 1


def _split(x):
    a, b, c = x.split([2, 3, 3], dim=1)
    a.relu_()
    b.copy_(c)


def _swap(x):
    saved = x[:, :4].clone()
    x[:, :4] = x[:, 4:]
    x[:, 4:] = saved


def _checkerboard(x):
    mask = (torch.arange(8)[:, None] + torch.arange(8)) % 2 == 0
    x[..., mask] = 0


def _augmented(x):
    x[:, :4] += x[:, 4:]


def _frame(x):
    x[:, :, 0] = x[:, :, -1] = 0
    x[:, :, :, 0] = x[:, :, :, -1] = 0


for write in [
    torch.relu_,
    lambda x: x.relu_(),
    lambda x: F.relu(x, inplace=True),
    lambda x: nn.ReLU(inplace=True)(x),
    lambda x: F.relu6(x, inplace=True),
    lambda x: x.view(x.shape[0], -1).relu_(),
    lambda x: x.flatten(2).clamp_(-0.3, 0.7),
    lambda x: x.transpose(1, 2).mul_(2),
    lambda x: x.permute(0, 2, 3, 1)[..., :3].zero_(),
    lambda x: x[:, 2:5].relu_(),
    lambda x: x[:, ::2].mul_(-1),
    lambda x: x[:, :, 1:-1, 1:-1].add_(1),
    lambda x: x[:, :, ::2, 1::2].fill_(0.25),
    lambda x: x.narrow(1, 3, 2).neg_(),
    lambda x: x.select(1, 4).mul_(3),
    lambda x: x.unfold(2, 2, 2).relu_(),
    lambda x: x.detach().relu_(),
    lambda x: x.data.clamp_(min=0),
    lambda x: x.contiguous().relu_(),
    lambda x: x.clone().relu_(),
    lambda x: x.unsqueeze(0).mul_(0.5),
    lambda x: x.expand(-1, -1, -1, -1).sub_(0.5),
    lambda x: x.swapaxes(2, 3).div_(4),
    lambda x: x.movedim(1, -1).add_(torch.arange(8.0)),
    lambda x: x.diagonal(dim1=2, dim2=3).zero_(),
    lambda x: x.masked_fill_(torch.eye(8, dtype=torch.bool), 0.5),
    lambda x: x.masked_fill_(torch.arange(8).view(8, 1, 1) > 5, 0.0),
    lambda x: x.index_fill_(1, torch.tensor([1, 3]), 0.0),
    lambda x: x.index_copy_(1, torch.tensor([0, 1]), x[:, 6:].clone()),
    lambda x: x.tril_(),
    lambda x: x.copy_(x.flip(1)),
    lambda x: x.addcmul_(x, torch.full((8, 1, 1), 0.5)),
    lambda x: x.add_(x, alpha=0.5),
    lambda x: x.lerp_(x.flip(1), 0.25),
    lambda x: torch.add(x, 1, out=x),
    lambda x: torch.mul(x, 0.5, out=x[:]),
    lambda x: torch.clamp(x, min=0, out=x),
    lambda x: torch.cat([x[:, 4:], x[:, :4]], 1, out=x.new_empty(x.shape)),
    lambda x: _assign(x, (slice(None), 0), 0.0),
    lambda x: _assign(x, (slice(None), 0), x[:, 1]),
    lambda x: _assign(x, (slice(None), [0, 2]), x[:, [5, 7]]),
    lambda x: _assign(x, (slice(None), torch.tensor([True, False] * 4)), 0.0),
    lambda x: _assign(x, (..., slice(0, 4)), x[..., 4:]),
    lambda x: _assign(x, (..., 0), torch.arange(8.0)),
    _half,
    _unbound,
    _iterated,
    _rows,
    _split,
    _swap,
    _checkerboard,
    _augmented,
    _frame,
]:
    FAMILY.add(f"write {len(FAMILY.cases)}", through(write), (1, 8, 8))


def _buffer(m, x):
    out = torch.zeros(x.shape[0], 12, 8, 8)
    out[:, :8] = m.a(x)
    out[:, 8:] = x[:, :4]
    return out


def _preallocated(m, x):
    out = torch.empty(x.shape[0], 2, 8, 8, 8)
    for n, layer in enumerate((m.a, m.b)):
        out[:, n] = layer(x)
    return out.flatten(1, 2)


def _padded_by_hand(m, x):
    out = x.new_zeros(x.shape[0], 8, 10, 10)
    out[:, :, 1:9, 1:9] = x
    return F.conv2d(out, m.a.weight, m.a.bias)


def _accumulated(m, x):
    total = 0
    for layer in (m.a, m.b):
        total = total + layer(x)
    return total


def _accumulated_in_place(m, x):
    total = torch.zeros_like(x)
    for layer in (m.a, m.b):
        total += layer(x)
    return total


def _residual_in_place(m, x):
    y = m.a(x)
    y += x
    return F.relu_(y)


def _residual_overwritten(m, x):
    y = m.a(x)
    x.mul_(2)
    return y + x


def _relu_changes_the_skip(m, x):
    y = m.a(x)
    z = F.relu(y, inplace=True)
    return m.b(z) + y


def _view_kept(m, x):
    y = m.a(x)
    view = y[:, :4]
    y.relu_()
    return torch.cat([m.b(y), view], 1)


def _copy_kept(m, x):
    y = m.a(x)
    copy = y.clone()
    y.relu_()
    return torch.cat([y, copy], 1)


def _one_of_two(m, x):
    a, b = m.a(x).split(4, dim=1)
    a = F.relu_(a)
    return torch.cat([b, a], 1)


def _input_is_written(m, x):
    x -= 0.5
    x /= 0.25
    return m.a(x)


def _list(m, x):
    outputs = [m.a(x)]
    outputs.append(m.b(outputs[-1]))
    outputs[0].relu_()
    return torch.cat(outputs, 1)


def _zeroed_border(m, x):
    y = m.a(x)
    mask = torch.zeros(8, 8)
    mask[1:-1, 1:-1] = 1
    return y * mask


def _by_where(m, x):
    mask = torch.arange(8).view(1, 8, 1, 1) < 4
    return torch.where(mask, m.a(x), m.b(x))


def _by_mask_of_numbers(m, x):
    keep = (torch.arange(8) % 3 > 0).float().view(-1, 1, 1)
    return m.a(x) * keep + m.b(x) * (1 - keep)


def _scatter(m, x):
    return m.a(x).scatter(1, torch.zeros(len(x), 1, 8, 8, dtype=torch.long), 0.5)


def _index_put(m, x):
    y = m.a(x)
    y.index_put_((torch.arange(len(y)), torch.tensor(3)), torch.tensor(0.0))
    return y


def _functional_scatter(m, x):
    return torch.slice_scatter(m.a(x), m.b(x)[:, :4], dim=1, start=2, end=6)


def _select_scatter(m, x):
    return torch.select_scatter(m.a(x), x[:, 0], 1, 7)


def _resize(m, x):
    y = torch.empty(0)
    torch.add(m.a(x), x, out=y)
    return y


for function in [
    _buffer,
    _preallocated,
    _padded_by_hand,
    _accumulated,
    _accumulated_in_place,
    _residual_in_place,
    _residual_overwritten,
    _relu_changes_the_skip,
    _view_kept,
    _copy_kept,
    _one_of_two,
    _input_is_written,
    _list,
    _zeroed_border,
    _by_where,
    _by_mask_of_numbers,
    _scatter,
    _index_put,
    _functional_scatter,
    _select_scatter,
    _resize,
]:
    FAMILY.add(function.__name__.strip("_"), lambda function=function: headed(function), (1, 8, 8))


def _by_values(m, x):
    y = m.a(x)
    y[y < 0] = 0
    return y


def _by_values_and_tensor(m, x):
    y = m.a(x)
    y[y < 0] *= 0.1
    return y


def _across_samples(m, x):
    y = m.a(x)
    y[0] = y[-1]
    return y


def _drawn_mask(m, x):
    return m.a(x).masked_fill(torch.rand(8, 8) > 0.5, 0)


def _set(m, x):
    y = torch.empty(0)
    y.set_(m.a(x))
    return y


def _added_at_indices(m, x):
    return m.a(x).index_add(1, torch.tensor([2, 2]), x[:, :2])


IMAGE = (1, 8, 8)
FAMILY.add("by_values", lambda: headed(_by_values), IMAGE, tables=True)
for function, sentence in [
    (_by_values_and_tensor, "line [0-9]+: .*value chooses what is read; .*torch.where"),
    (_across_samples, "others of the batch"),
    (_drawn_mask, "rand is random in evaluation mode too; .* keep them in a buffer"),
    (_set, "set is not supported"),
    (_added_at_indices, "index_add is not supported; .*torch.cat"),
]:
    FAMILY.add(
        function.__name__.strip("_"), lambda function=function: headed(function), IMAGE, sentence
    )
