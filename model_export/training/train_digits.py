"""Train the digits network with TTQ: ``python -m tritforge.model_export.training.train_digits [-o
FILE]``.

First in full precision, then, from there, with ternary weights in the two middle convs, as the
paper does for CIFAR-10. A constant sparsity of 60 % gives about the density of the paper's AlexNet;
a threshold of 0.05 max |w| would keep 95 % of the weights in so short a training. The test images
are used for the two printed accuracies only: nothing is chosen by them. One thread and one seed
make the run reproducible on one machine.
"""

import io
import json
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F

from tritforge.common.files import new_file
from tritforge.model_export.training.digits import digits_data
from tritforge.model_export.training.ttq import TernaryLayer, ternarize_model
from tritforge.model_export.zoo import digits

__all__ = ["accuracy", "train", "train_digits"]

BATCH = 64
FLOAT_RATE = 3e-3
TTQ_RATE = 2e-3
SPARSITY = 0.6


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    rate: float,
    generator: torch.Generator,
    progress: Progress,
    title: str,
) -> None:
    """Train ``model`` in place with Adam and a one-cosine learning rate that ends at zero.

    Parameters
    ----------
    images, labels
        (N, C, H, W) float32 and (N,) int64.
    generator
        Shuffles the images; its state is advanced.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    count = len(images)
    steps = epochs * -(-count // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    task = progress.add_task(title, total=epochs)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(count, generator=generator).split(BATCH):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress.advance(task)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of ``images`` classified as ``labels``, 0..1; leaves ``model`` in eval mode."""
    model.eval()
    with torch.no_grad():
        share: float = (model(images).argmax(1) == labels).double().mean().item()
    return share


def train_digits(
    *, epochs: int, seed: int, progress: Progress
) -> tuple[nn.Module, dict[str, object]]:
    """A trained ternary digits network, and a report of how well it does.

    Parameters
    ----------
    epochs
        Passes over the training images in full precision, and as many again with TTQ.

    Returns
    -------
    model, report
        The model has ternary modules, in eval mode. The report has accuracies (0..1), the
        densities, Wp and Wn of the ternary layers, and the settings.
    """
    train_x, train_y, test_x, test_y = (torch.from_numpy(array) for array in digits_data())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = digits()
        generator = torch.Generator().manual_seed(seed)
        train(
            model,
            train_x,
            train_y,
            epochs=epochs,
            rate=FLOAT_RATE,
            generator=generator,
            progress=progress,
            title="full precision",
        )
        float_accuracy = accuracy(model, test_x, test_y)
        model = ternarize_model(model, sparsity=SPARSITY)
        train(
            model,
            train_x,
            train_y,
            epochs=epochs,
            rate=TTQ_RATE,
            generator=generator,
            progress=progress,
            title="ternary",
        )
        ttq_accuracy = accuracy(model, test_x, test_y)
    finally:
        torch.set_num_threads(threads)
    layers = {
        name: {"density": round(module.density, 4), "wp": module.wp.item(), "wn": module.wn.item()}
        for name, module in model.named_modules()
        if isinstance(module, TernaryLayer)
    }
    return model, {
        "float_accuracy": float_accuracy,
        "ttq_accuracy": ttq_accuracy,
        "test_images": len(test_x),
        "train_images": len(train_x),
        "sparsity": SPARSITY,
        "layers": layers,
        "seed": seed,
        "epochs": epochs,
        "torch": torch.__version__,
    }


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("digits_ttq.pt"),
    show_default=True,
    help="Checkpoint to write; a report goes beside it (.json).",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    help="Epochs in full precision, and again with ternary weights.",
)
@click.option("--seed", type=int, default=0, show_default=True)
def main(output: Path, epochs: int, seed: int) -> None:
    """Train the digits network in full precision, then with TTQ; save the ternary one."""
    console = Console()
    with Progress(console=console) as progress:
        model, report = train_digits(epochs=epochs, seed=seed, progress=progress)
    report["command"] = (
        f"python -m tritforge.model_export.training.train_digits --epochs {epochs} --seed {seed}"
    )
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    for path, raw in (
        (output, buffer.getvalue()),
        (output.with_suffix(".json"), (json.dumps(report, indent=2) + "\n").encode()),
    ):
        with new_file(path) as temporary:
            temporary.write_bytes(raw)
    console.print(
        f"test accuracy {report['float_accuracy']:.2%} in full precision, "
        f"{report['ttq_accuracy']:.2%} with ternary weights; saved {output}"
    )


if __name__ == "__main__":
    main()
