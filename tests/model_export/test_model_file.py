"""Model files of a user's: their neighbours, what they leave behind, and how they fail."""

import contextlib
import copy
import importlib
import json
import os
import pickle
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from tritforge.model_export.errors import ModelError
from tritforge.model_export.model_file import load_model, running


def test_model_file(tmp_path):
    (tmp_path / "model_blocks.py").write_text("WIDTH = 5\n")
    path = tmp_path / "net.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "from model_blocks import WIDTH\n"
        "@dataclass\n"
        "class Settings:\n"
        "    width: int = WIDTH\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(3, Settings().width)\n"
        "def build():\n"
        "    return Net()\n"
        "ready = Net()\n"
    )
    before = list(sys.path)
    for name in ("Net", "build", "ready"):
        assert load_model(f"{path}:{name}").out_features == 5
    assert sys.path == before
    assert "model_blocks" not in sys.modules


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("x = 1\n", "Net", r"net\.py defines no 'Net'"),
        ("x = 1\n", "x", r"x in .* is of type int, not a class or function"),
        (
            "def f():\n    return 3\n",
            "f",
            r"f in .* gives an object of type int, not an nn\.Module",
        ),
        ("def f():\n    raise KeyError('k')\n", "f", r"building f of .* failed: KeyError: 'k'"),
        ("def f(width):\n    pass\n", "f", r"building f of .* failed: TypeError: .*width"),
        ("import sys\nsys.exit(3)\n", "f", r"running model file .* failed: SystemExit: 3"),
        ("def f(:\n", "f", r"running model file .* failed: SyntaxError"),
        ("import no_such_package\n", "f", "failed: ModuleNotFoundError: .*no_such_package"),
        ("def __getattr__(name):\n    raise OSError(name)\n", "f", "building f .* OSError: f"),
        (
            "class E(Exception):\n    def __str__(self):\n        raise SystemExit\nraise E\n",
            "f",
            "failed: E$",
        ),
        ("raise OSError(5000 * 'x')\n", "f", r"failed: OSError: x{2000} \.\.$"),
        ("import sys\nsys.path.insert(0, None)\nx = 1\n", "x", "x in .* is of type int"),
    ],
)
def test_model_file_errors(tmp_path, text, name, message):
    path = tmp_path / "net.py"
    path.write_text(text)
    before = list(sys.path)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(f"{path}:{name}")
    assert "\n" not in str(caught.value)
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zoo:lenet", "no network 'lenet'; it has alexnet_dorefa, alexnet_krizhevsky, alexnet_tor"),
        ("absent.py:Net", r"model file absent\.py does not exist"),
        ("digits", "'digits' is neither FILE.py:NAME nor zoo:NAME"),
        ("net.py:", "is neither"),
        (":Net", "is neither"),
        ("", "is neither"),
    ],
)
def test_specification_errors(spec, message):
    with pytest.raises(ModelError, match=message):
        load_model(spec)


def test_a_file_that_is_no_python_file(tmp_path):
    path = tmp_path / "net.txt"
    path.write_text("x = 1\n")
    with pytest.raises(ModelError, match=r"net\.txt is not a Python file"):
        load_model(f"{path}:x")


# ----- isolation

#: Names of folders of this repository, and of an installed package.
NAMES = ("sim", "hw", "common", "fpga", "model_export", "tests", "rich")


@pytest.fixture
def unchanged(tmp_path):
    """The test leaves the interpreter's imports as they were."""
    before, path, argv = sys.modules.copy(), list(sys.path), list(sys.argv)
    yield
    assert sys.path == path and sys.argv == argv
    assert not [place for place in sys.path_importer_cache if str(tmp_path) in place]
    for name, module in before.items():
        assert sys.modules.get(name) is module, name
    new = {name for name in set(sys.modules) - set(before) if not name.startswith("_tritforge_")}
    assert not {name for name in new if name.partition(".")[0] in {*NAMES, "neighbours"}}


def write(folder, **files):
    """Python files: ``a__b`` is ``a/b.py``."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/", 1) + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


BIAS = "from neighbours import scale\nBIAS = scale.FACTOR\n"
LAZY = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
    def forward(self, x):
        from neighbours import scale
        import neighbours.deep.bias as bias
        return scale.FACTOR * self.linear(x) + bias.BIAS
"""


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_neighbours_of_any_name(tmp_path, monkeypatch, name, package):
    """Also where the caller has a module of that name, which it finds again afterwards."""
    callers = ModuleType(name)
    if name not in sys.modules:
        monkeypatch.setitem(sys.modules, name, callers)
    found = sys.modules[name]
    path = tmp_path / "net.py"
    write(
        tmp_path,
        **{f"{name}__widths": f"from {name} import more\nWIDTH = more.WIDTH\n"},
        **{f"{name}__more": "from . import widths\nWIDTH = 5\n"},
        net=f"import {name}.widths\nimport tritforge.hw.config\nfrom torch import nn\n"
        f"from {name} import more as other\n"
        f"assert other is {name}.more and tritforge.hw.config.Config\n"
        f"def build():\n    return nn.Linear({name}.widths.WIDTH, 2)\n",
    )
    if package:
        (tmp_path / name / "__init__.py").write_text("")
    assert load_model(f"{path}:build").in_features == 5
    assert sys.modules[name] is found


@pytest.mark.usefixtures("unchanged")
def test_two_files_with_neighbours_of_the_same_name_that_are_imported_late(tmp_path):
    models = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        write(
            folder,
            net=LAZY,
            neighbours__scale=f"FACTOR = {number}\n",
        )
        write(folder / "neighbours", deep__bias=BIAS)
        models.append(load_model(f"{folder / 'net.py'}:Net").eval())
    x = torch.ones(1, 3)
    for number, model in enumerate(models, 1):
        expected = number * model.linear(x) + number
        assert torch.equal(model(x), expected)
        assert torch.equal(copy.deepcopy(model)(x), expected)
        with running(model):
            assert number == importlib.import_module("neighbours.scale").FACTOR
            import neighbours.scale

            assert number == neighbours.scale.FACTOR
        again = pickle.loads(pickle.dumps(model))
        assert torch.equal(again(x), expected)


@pytest.mark.usefixtures("unchanged")
def test_classes_of_neighbours_are_pickled_and_know_their_types(tmp_path):
    write(
        tmp_path,
        neighbours__blocks="from __future__ import annotations\n"
        "import dataclasses, enum\nfrom torch import nn\n"
        "class Kind(enum.Enum):\n    A = 1\n"
        "@dataclasses.dataclass\nclass Settings:\n    width: int = 4\n    kind: Kind = Kind.A\n"
        "class Block(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(3, 2)\n"
        "        self.settings = Settings()\n",
        net="import typing\nfrom torch import nn\n"
        "from neighbours.blocks import Block, Kind, Settings\n"
        "assert typing.get_type_hints(Settings) == {'width': int, 'kind': Kind}\n"
        "def build():\n    return nn.Sequential(Block())\n",
    )
    model = load_model(f"{tmp_path / 'net.py'}:build")
    again = pickle.loads(pickle.dumps(model))
    assert again[0].settings == model[0].settings and type(again[0]) is type(model[0])


@pytest.mark.usefixtures("unchanged")
def test_imports_by_name_and_folders_that_a_file_adds(tmp_path, monkeypatch):
    """A registry, a pickle of the user's training, and the project's root in sys.path."""
    monkeypatch.setitem(sys.modules, "common", ModuleType("common"))
    write(
        tmp_path,
        common__widths="WIDTH = 6\n",
        last__only="NAME = 'last'\n",
    )
    write(tmp_path / "last", json="raise RuntimeError('the standard library comes first')\n")
    write(
        tmp_path / "models",
        registry="import importlib\ndef get(name):\n    return importlib.import_module(name)\n",
        neighbours__small="from torch import nn\nclass Small(nn.Linear):\n    pass\n",
        net="import os, sys, pickle\n"
        "sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))\n"
        "sys.path.append(os.path.join(sys.path[0], 'last'))\n"
        "import json, only, registry\nfrom common.widths import WIDTH\n"
        "assert json.dumps(1) == '1'\n"
        "small = registry.get('neighbours.small')\n"
        "from neighbours.small import Small\nassert small.Small is Small\n"
        "assert pickle.loads(b'cneighbours.small\\nSmall\\n.') is Small\n"
        "def build():\n    return Small(WIDTH, 2)\n"
        "class Late(Small):\n"
        "    def __init__(self):\n        super().__init__(3, 2)\n"
        "    def forward(self, x):\n        import common.widths\n"
        "        return super().forward(x) * common.widths.WIDTH\n",
    )
    path = tmp_path / "models" / "net.py"
    assert load_model(f"{path}:build").in_features == 6
    late = load_model(f"{path}:Late")
    x = torch.ones(1, 3)
    assert torch.equal(late(x), 6 * torch.nn.Linear.forward(late, x))


@pytest.mark.usefixtures("unchanged")
def test_a_file_sees_no_arguments_and_prints_to_standard_error(tmp_path, capsys, monkeypatch):
    path = tmp_path / "net.py"
    monkeypatch.setattr(sys, "argv", ["tritforge", "export", "--json"])
    write(
        tmp_path,
        net="import argparse, sys\nfrom torch import nn\n"
        "argparse.ArgumentParser().parse_args()\nprint('loading', sys.argv)\n"
        "if __name__ == '__main__':\n    raise RuntimeError\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self):\n        print('building')\n        super().__init__(3, 2)\n"
        "    def forward(self, x):\n        print('running')\n        return super().forward(x)\n",
    )
    model = load_model(f"{path}:Net")
    with running(model):
        model(torch.ones(1, 3))
    out, err = capsys.readouterr()
    assert out == "" and err == f"loading ['{path}']\nbuilding\nrunning\n"


@pytest.mark.usefixtures("unchanged")
def test_a_network_that_ends_the_program_when_it_is_run(tmp_path):
    write(
        tmp_path,
        net="import sys\nfrom torch import nn\nclass Net(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(3, 2)\n"
        "    def forward(self, x):\n        sys.exit(0)\n",
    )
    model = load_model(f"{tmp_path / 'net.py'}:Net")
    message = r"net\.py ends the program: SystemExit: 0$"
    with pytest.raises(ModelError, match=message), running(model):
        model(torch.ones(1, 3))


@pytest.mark.usefixtures("unchanged")
def test_edits_are_seen(tmp_path):
    """Also within a second; and no compiled files are left in the user's folder."""
    for width in (3, 4, 5):
        write(
            tmp_path,
            widths=f"WIDTH = {width}\n",
            net="from torch import nn\nfrom widths import WIDTH\nnet = nn.Linear(WIDTH, 1)\n",
        )
        assert load_model(f"{tmp_path / 'net.py'}:net").in_features == width
        assert {path.name for path in tmp_path.iterdir()} == {"net.py", "widths.py"}


@pytest.mark.parametrize("end", ["", "raise KeyboardInterrupt\n", "raise ValueError\n"])
def test_what_a_file_changes_in_the_interpreter_is_undone(tmp_path, end):
    def state():
        return sys.path, [*sys.path], sys.argv, sys.stdout, sys.stderr, os.getcwd(), json

    before = state()
    write(
        tmp_path,
        net="import io, os, sys\nfrom torch import nn\nos.chdir('/')\n"
        "sys.path = [None, '/']\nsys.argv = []\nsys.stdout = sys.stderr = io.StringIO()\n"
        f"del sys.modules['json']\nnet = nn.Linear(3, 1)\n{end}",
    )
    with pytest.raises((KeyboardInterrupt, ModelError)) if end else contextlib.nullcontext():
        load_model(f"{tmp_path / 'net.py'}:net")
    after = state()
    assert after == before and after[0] is before[0] and sys.modules["json"] is json


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("stem", ["my-net", "net.v2", "neighbours", "random", "torch2"])
def test_any_name_of_a_file(tmp_path, stem):
    """``neighbours`` has a package of its name beside it, which an import finds."""
    path = tmp_path / f"{stem}.py"
    (tmp_path / "torch").mkdir()  # of checkpoints
    (tmp_path / "torch" / "a.pt").write_text("")
    (tmp_path / "neighbours").mkdir()
    (tmp_path / "neighbours" / "__init__.py").write_text("WIDTH = 3\n")
    path.write_text(
        "from torch import nn\nimport random\nfrom neighbours import WIDTH\n"
        "net = nn.Linear(WIDTH, 1)\n"
    )
    assert load_model(f"{path}:net").in_features == 3


@pytest.mark.usefixtures("unchanged")
def test_errors_name_the_users_modules_and_leave_nothing(tmp_path):
    write(tmp_path, neighbours__a="from neighbours import nothing\n", net="import neighbours.a\n")
    before = set(sys.modules)
    with pytest.raises(ModelError, match="cannot import name 'nothing' from 'neighbours'"):
        load_model(f"{tmp_path / 'net.py'}:net")
    write(tmp_path, net="import neighbours.b\n")
    with pytest.raises(ModelError, match=r"No module named 'neighbours\.b'$"):
        load_model(f"{tmp_path / 'net.py'}:net")
    assert set(sys.modules) == before


def test_the_callers_own_modules_are_found_afterwards(tmp_path):
    """In a fresh interpreter, whose ``sim`` is another folder's and not imported yet."""
    write(tmp_path / "mine", sim__tb="WHOSE = 'mine'\n")
    write(
        tmp_path / "theirs",
        sim__tb="WHOSE = 'theirs'\n",
        net="from torch import nn\nfrom sim.tb import WHOSE\n"
        "def build():\n    return nn.Linear(len(WHOSE), 1)\n",
    )
    program = (
        "import json, sys\nfrom tritforge import load_model\n"
        f"model = load_model({str(tmp_path / 'theirs' / 'net.py')!r} + ':build')\n"
        "from sim.tb import WHOSE\n"
        "print(json.dumps([model.in_features, WHOSE, sys.modules['sim.tb'].__file__]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "mine",
        check=True,
        capture_output=True,
        text=True,
    )
    features, whose, file = json.loads(done.stdout)
    assert features == len("theirs") and whose == "mine"
    assert file == str(tmp_path / "mine" / "sim" / "tb.py")
