"""How many models of the corpus other ways of reading a model take: ``python -m`` this module."""

import contextlib
import io
import warnings

import torch

from tests.model_export.frontend.corpus.test_corpus import CASES


def reads(way, case) -> bool:
    """Whether a graph comes out, whatever it computes."""
    silence = io.StringIO()
    with (
        contextlib.suppress(Exception),
        contextlib.redirect_stderr(silence),
        contextlib.redirect_stdout(silence),
        torch.no_grad(),
    ):
        way(case.model().eval(), torch.from_numpy(case.samples(2, 0)))
        return True
    return False


def main() -> None:
    warnings.simplefilter("ignore")
    ways = {
        "torch.fx.symbolic_trace": lambda model, x: torch.fx.symbolic_trace(model),
        "torch.export": lambda model, x: torch.export.export(model, (x,)),
    }
    right = [case for case in (param.values[0] for param in CASES) if case.refused is None]
    print(f"{len(right)} models")
    for name, way in ways.items():
        print(f"{name}: {sum(reads(way, case) for case in right)}")


if __name__ == "__main__":
    main()
