"""TTQ modules: forward and gradients against hand-computed values, heuristics, conversions."""

import io

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from tritforge.model_export.training.ttq import (
    ConstantSparsity,
    FractionOfMax,
    TernaryConv2d,
    TernaryLayer,
    TernaryLinear,
    bake,
    heuristic_for,
    ternarize,
    ternarize_model,
)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, requires_grad=True)


def small_net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=(1, 0), groups=2, bias=False),
        nn.ReLU(),
        nn.Sequential(nn.Flatten(), nn.Linear(6 * 3 * 2, 8), nn.ReLU()),
        nn.Linear(8, 3),
    )


@pytest.mark.parametrize(("wp", "wn"), [(2.0, 3.0), (-2.0, 3.0), (2.0, -3.0), (-2.0, -3.0)])
def test_forward_and_gradients_by_hand(wp, wn):
    latent = torch.tensor([0.9, 0.1, -0.1, -0.5, 0.3, -0.7], requires_grad=True)
    positive, negative = scalar(wp), scalar(wn)
    weight = ternarize(latent, positive, negative, torch.tensor(0.2))
    assert weight.tolist() == [wp, 0.0, 0.0, -wn, wp, -wn]
    weight.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0, 5.0, 50.0]))
    assert latent.grad.tolist() == [wp * 1, 10, 100, wn * 1000, wp * 5, wn * 50]  # eq. 8
    assert positive.grad.item() == 1 + 5  # eq. 7
    assert negative.grad.item() == -(1000 + 50)


def test_scale_gradients_are_those_of_the_chain_rule():
    torch.manual_seed(0)
    latent = torch.randn(4, 5, dtype=torch.float64)
    delta = torch.tensor(0.4, dtype=torch.float64)
    target = torch.randn(4, 5, dtype=torch.float64)
    wp = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    wn = torch.tensor(-0.3, dtype=torch.float64, requires_grad=True)

    def loss(wp, wn):
        return (ternarize(latent, wp, wn, delta) - target).square().sum()

    assert torch.autograd.gradcheck(loss, (wp, wn))


def test_both_inequalities_are_strict():
    latent = torch.tensor([0.25, -0.25, 0.5, -0.5])
    weight = ternarize(latent, scalar(7.0), scalar(9.0), torch.tensor(0.25))
    assert weight.tolist() == [0, 0, 7, -9]


def test_fraction_of_max():
    latent = torch.tensor([[-4.0, 1.0], [0.5, 2.0]])
    assert FractionOfMax(0.25).delta(latent).item() == 1.0
    assert FractionOfMax().fraction == 0.05


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.0, 0), (0.3, 3), (0.5, 5), (0.94, 9)])
def test_constant_sparsity(sparsity, zeros):
    latent = torch.tensor([-1.0, 2.0, -3.0, 4.0, -5.0, 6.0, -7.0, 8.0, -9.0, 10.0])
    layer = TernaryLinear(10, 1, sparsity=sparsity)
    with torch.no_grad():
        layer.weight.copy_(latent[None])
    assert layer.codes()[0].tolist() == [0] * zeros + latent.sign().tolist()[zeros:]
    assert layer.density == (10 - zeros) / 10


@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0, float("nan")])
def test_heuristics_refuse_what_is_no_share(value):
    with pytest.raises(ValueError, match=r"threshold must be a fraction .* in \[0, 1\), not"):
        heuristic_for(value)
    with pytest.raises(ValueError, match=r"sparsity must be a share .* in \[0, 1\), not"):
        TernaryConv2d(1, 1, 1, sparsity=value)
    assert heuristic_for(5.0, sparsity=0.5) == ConstantSparsity(0.5)


def test_all_zero_weights_stay_zero():
    layer = TernaryLinear(3, 2)
    with torch.no_grad():
        layer.weight.zero_()
    assert layer(torch.ones(1, 3)).tolist() == [layer.bias.tolist()]
    plain = nn.Linear(3, 2)
    nn.init.zeros_(plain.weight)
    made = TernaryLinear.from_plain(plain, FractionOfMax())
    assert (made.wp.item(), made.wn.item()) == (1.0, 1.0)


def test_scales_start_as_mean_magnitudes():
    plain = nn.Linear(6, 1)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([[1.0, 3.0, -4.0, -8.0, 0.1, -0.1]]))
    layer = TernaryLinear.from_plain(plain, FractionOfMax(0.05))
    assert (layer.wp.item(), layer.wn.item()) == (2.0, 6.0)
    with torch.no_grad():
        plain.weight.abs_()
    one_sided = TernaryLinear.from_plain(plain, FractionOfMax(0.05))
    assert (one_sided.wp.item(), one_sided.wn.item()) == (4.0, 4.0)


def test_layers_compute_with_ternary_weights():
    torch.manual_seed(1)
    conv = TernaryConv2d(4, 6, (3, 2), stride=2, padding=1, dilation=2, groups=2, threshold=0.3)
    with torch.no_grad():
        conv.wp.fill_(-0.25)
        conv.wn.fill_(0.5)
    assert set(conv.ternary_weight().detach().unique().tolist()) == {-0.25, 0.0, -0.5}
    x = torch.randn(2, 4, 9, 9)
    expected = nn.functional.conv2d(x, conv.ternary_weight(), conv.bias, 2, 1, 2, 2)
    assert torch.equal(conv(x), expected)
    assert torch.equal(bake(conv)(x), expected)


def test_training_moves_everything_and_learns():
    torch.manual_seed(2)
    model = nn.Sequential(TernaryLinear(8, 16), nn.ReLU(), TernaryLinear(16, 2))
    x = torch.randn(64, 8)
    y = (x[:, 0] > 0).long()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_ternarize_model_keeps_first_and_last_and_the_original():
    model = small_net()
    ternary = ternarize_model(model)
    assert [type(m) for m in ternary.modules() if hasattr(m, "weight")] == [
        nn.Conv2d,
        nn.BatchNorm2d,
        TernaryConv2d,
        TernaryLinear,
        nn.Linear,
    ]
    assert not any(isinstance(m, TernaryLayer) for m in model.modules())
    assert torch.equal(ternary[3].weight, model[3].weight)
    assert ternary[3].weight.data_ptr() != model[3].weight.data_ptr()
    assert ternary[3].padding == (1, 0) and ternary[3].groups == 2 and ternary[3].bias is None
    assert ternary(torch.randn(2, 2, 6, 6)).shape == (2, 3)


def test_ternarize_model_options():
    model = small_net()
    everything = ternarize_model(model, first_last=True, threshold=0.2)
    layers = [m for m in everything.modules() if isinstance(m, TernaryLayer)]
    assert [layer.heuristic for layer in layers] == [FractionOfMax(0.2)] * 4
    kept = ternarize_model(model, sparsity=0.5, keep=["5.1"])
    assert isinstance(kept[5][1], nn.Linear) and not isinstance(kept[5][1], TernaryLayer)
    assert kept[3].heuristic == ConstantSparsity(0.5)
    assert isinstance(ternarize_model(nn.Linear(2, 2), first_last=True), TernaryLinear)


def test_ternarize_model_errors():
    with pytest.raises(ValueError, match=r"keep names conv9, but .* layers are 0, 3, 5\.1, 6"):
        ternarize_model(small_net(), keep=["conv9"])
    with pytest.raises(ValueError, match="no layer is left to make ternary"):
        ternarize_model(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (weight_norm, r"layer 3 has WeightNorm, .* call torch\.nn\.utils\.remove_weight_norm"),
        (spectral_norm, r"layer 3 has SpectralNorm, .*remove_spectral_norm\(layer\) first"),
        (parametrizations.weight_norm, r"layer 3 has WeightNorm, .*\(layer, 'weight'\) first, or"),
        (parametrizations.spectral_norm, r"layer 3 has SpectralNorm, .*remove_parametrizations"),
        (
            lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
            r"layer 3 has L1Unstructured, .*prune\.remove\(layer, 'weight'\) first",
        ),
    ],
)
def test_layers_whose_weights_a_hook_computes(wrap, message):
    model = small_net()
    wrap(model[3])
    with pytest.raises(ValueError, match=message):
        ternarize_model(model)
    kept = ternarize_model(model, keep=["3"])  # it is copied as it is
    assert isinstance(kept[5][1], TernaryLinear)
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(bake(kept)[3](model[0](x)), model[3].eval()(model[0](x)))
    first = small_net()
    wrap(first[0])
    assert isinstance(ternarize_model(first)[3], TernaryConv2d)


def test_lazy_layers_are_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="1 is a LazyLinear that has seen no input; run the model"):
        ternarize_model(model)
    model(torch.ones(1, 2))
    assert isinstance(ternarize_model(model)[1], TernaryLinear)


def test_hooks_on_calls_go_with_a_layer():
    seen = []
    model = small_net()
    model[3].register_forward_hook(lambda module, args, output: seen.append(type(module)))
    ternary = ternarize_model(model)
    ternary(torch.randn(2, 2, 6, 6))
    bake(ternary)(torch.randn(2, 2, 6, 6))
    assert seen == [TernaryConv2d, nn.Conv2d]


def test_conversions_draw_no_random_numbers_and_keep_sharing():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), shared, shared, nn.Linear(4, 4), nn.Linear(4, 4))
    model[3].weight = shared.weight
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    ternary = ternarize_model(model)
    baked = bake(ternary)
    assert torch.equal(torch.rand(1), expected)
    assert ternary[1] is ternary[2] and ternary[3].weight is ternary[1].weight
    assert baked[1] is baked[2]


def test_bake_is_plain_exact_and_in_eval_mode():
    ternary = ternarize_model(small_net(), threshold=0.3)
    with torch.no_grad():
        ternary[3].wp.fill_(-0.1)
    baked = bake(ternary)
    assert not baked.training and ternary.training
    assert type(baked[3]) is nn.Conv2d and type(baked[5][1]) is nn.Linear
    wn = ternary[3].wn.item()
    assert set(baked[3].weight.unique().tolist()) == {torch.tensor(-0.1).item(), 0.0, -wn}
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(baked(x), ternary.eval()(x))
    assert isinstance(ternary[3], TernaryConv2d)


def test_state_dict_holds_the_heuristic():
    saved = ternarize_model(small_net(), sparsity=0.7)
    buffer = io.BytesIO()
    torch.save(saved.state_dict(), buffer)
    buffer.seek(0)
    other = ternarize_model(small_net(), threshold=0.01)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert other[3].heuristic == ConstantSparsity(0.7)
    assert torch.equal(other[3].codes(), saved[3].codes())


def test_conv1d_becomes_ternary():
    plain = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3, padding=1, groups=2), nn.Linear(6, 3)
    )
    ternary = ternarize_model(plain, threshold=0.2).eval()
    assert type(ternary[2]).__name__ == "TernaryConv1d" and type(ternary[0]) is nn.Conv1d
    assert len(ternary[2].weight.unique()) > 3
    baked = bake(ternary)
    assert type(baked[2]) is nn.Conv1d and len(baked[2].weight.unique()) <= 3
    x = torch.randn(2, 2, 8)
    torch.testing.assert_close(baked(x), ternary(x))
