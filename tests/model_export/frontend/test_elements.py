"""Elements of tensors, and that views of one memory agree."""

import torch

from tritforge.model_export.frontend.elements import CONSTANT, Contents, Elements


def known(*shape):
    """A tensor whose elements are numbered in order."""
    tensor = torch.zeros(shape)
    contents = Contents()
    contents.set(tensor, Elements(torch.arange(tensor.numel()).reshape(shape)))
    return contents, tensor


def test_views_are_read_where_they_lie():
    contents, tensor = known(2, 3, 4)
    for view in (
        tensor[:, 1],
        tensor.permute(2, 0, 1),
        tensor[:, :, ::2].flatten(1),
        tensor.expand(5, 2, 3, 4),
    ):
        found = contents.get(view)
        numbers = torch.arange(24).reshape(2, 3, 4)
        if view.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
            expected = numbers.as_strided(view.size(), view.stride(), view.storage_offset())
            assert torch.equal(found.source, expected)
        else:
            assert found is None


def test_writes_through_a_view_are_seen_by_all():
    contents, tensor = known(2, 3)
    contents.set(tensor[:, 1], Elements(torch.tensor([100, 101]), offset=torch.ones(2).double()))
    found = contents.get(tensor.t())
    assert found.source.tolist() == [[0, 3], [100, 101], [2, 5]]
    assert found.offset.tolist() == [[0, 0], [1, 1], [0, 0]]


def test_the_rest_of_a_memory_is_constant():
    contents, tensor = Contents(), torch.arange(6.0).reshape(2, 3)
    assert contents.get(tensor) is None
    contents.set(tensor[0], Elements(torch.tensor([7, 8, 9])))
    found = contents.get(tensor)
    assert found.source.tolist() == [[7, 8, 9], [CONSTANT] * 3]
    assert found.offset[1].tolist() == [3, 4, 5]


def test_memory_that_is_gone_is_forgotten():
    contents, tensor = known(4)
    del tensor
    fresh = [torch.zeros(4) for _ in range(64)]
    assert all(contents.get(one) is None for one in fresh)


def test_affine_maps_add_up():
    elements = (
        Elements(torch.arange(3)).affine(2.0, 1.0).affine(torch.tensor([1.0, 0.0, -1.0]), 3.0)
    )
    assert elements.source.tolist() == [0, CONSTANT, 2]
    assert elements.offset.tolist() == [4, 3, 2]
    assert elements.gain[[0, 2]].tolist() == [2, -2]


def test_zeros_that_are_put_in_stand_for_a_value():
    elements = Elements(torch.arange(2)).filled(lambda one: torch.constant_pad_nd(one, (1, 0)), 5.0)
    assert elements.source.tolist() == [CONSTANT, 0, 1]
    assert elements.offset.tolist() == [5, 0, 0]
