"""tritforge run: on a virtual board, and what a user can get wrong."""

import json
from importlib.resources import files

import numpy as np
import pytest

from tests.tritforge.support import call, refused
from tritforge.flows import demo
from tritforge.flows.export import export
from tritforge.hw.config import Config
from tritforge.model_export.training.digits import digits_data

#: Its memories do not hold the digits network, so that trits cross the line for every image.
STREAMED = Config(
    name="streamed",
    clusters=1,
    elements=8,
    rows=4,
    queue_depth=4,
    scan_width=2,
    trit_depth=2048,
    activation_depth=2048,
    program_depth=512,
    row_depth=128,
    result_depth=256,
    layer_count=8,
    response_places=2,
    unpack_trits=False,
)


@pytest.fixture(scope="module")
def exported_run(exported):
    return exported / "image", exported / "x.npy"


@pytest.mark.compiles
def test_virtual(exported_run, tmp_path, capsys):
    image, inputs = exported_run
    code, out, err = call(
        capsys, "run", "--virtual", "--image", image, "--input", inputs, "-o", tmp_path / "run"
    )
    assert (code, err) == (0, "")
    assert "image 2: class " in out
    assert "all outputs equal the golden model's" in out
    assert "3 images on configuration tiny: " in out
    assert "link: " in out
    assert (
        call(
            capsys,
            "simulate",
            image,
            "--input",
            inputs,
            "--backend",
            "golden",
            "-o",
            tmp_path / "golden",
        )[0]
        == 0
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "run" / "output.npy"), np.load(tmp_path / "golden" / "output.npy")
    )
    assert json.loads((tmp_path / "run" / "report.json").read_text())["backend"] == "board"


@pytest.mark.compiles
def test_noise(exported_run, capsys):
    image, inputs = exported_run
    code, out, _ = call(
        capsys,
        "run",
        "--virtual",
        "--noise",
        "0.003",
        "--seed",
        4,
        "--json",
        "--image",
        image,
        "--input",
        inputs,
    )
    result = json.loads(out)
    assert code == 0
    assert result["checked"] and result["different_images"] == 0
    assert result["link"]["refused"] + result["link"]["crc_errors"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give either --port DEVICE with --board NAME, or --virtual"),
        (["--virtual", "--port", "/dev/null"], "give either --port DEVICE"),
        (["--port", "/dev/null"], "--port goes with --board NAME"),
        (
            ["--port", "/dev/null", "--board", "icebreaker", "--noise", "0.01"],
            "--noise goes with --virtual",
        ),
        (["--virtual", "--board", "icebreaker"], "--board goes with --port"),
        (["--virtual", "--seed", "1"], "--seed goes with --noise"),
    ],
)
def test_wrong_usage(exported_run, capsys, arguments, sentence):
    image, inputs = exported_run
    assert sentence in refused(
        capsys, "run", *arguments, "--image", image, "--input", inputs, code=2
    )


def test_unknown_board(exported_run, capsys):
    image, inputs = exported_run
    assert "board 'toaster' is not known; known are icebreaker, ulx3s_85f" in refused(
        capsys,
        "run",
        *("--port", "/dev/null", "--board", "toaster"),
        *("--image", image, "--input", inputs),
    )


def test_port_that_is_not_there(exported_run, capsys):
    image, inputs = exported_run
    assert (
        "/dev/ttyNONE9 cannot be opened: there is no such port; is the board connected?"
        in refused(
            capsys,
            "run",
            "--board",
            "icebreaker",
            "--port",
            "/dev/ttyNONE9",
            "--image",
            image,
            "--input",
            inputs,
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0, 0.001, 0.003])
def test_digits(noise, tmp_path, capsys):
    """The network that ships with tritforge, streamed to memories too small for it."""
    images, _, tests, _ = digits_data()
    np.save(tmp_path / "x.npy", tests[:20])
    export(
        files("tritforge") / "data" / demo.CHECKPOINT,
        demo.MODEL,
        images[: demo.CALIBRATION],
        STREAMED,
        tmp_path / "image",
    )
    code, out, _ = call(
        capsys,
        "run",
        "--virtual",
        "--noise",
        noise,
        "--seed",
        1,
        "--json",
        "--image",
        tmp_path / "image",
        "--input",
        tmp_path / "x.npy",
    )
    result = json.loads(out)
    assert (code, result["different_images"]) == (0, 0)
    assert (result["link"]["refused"] > 100) == (noise > 0)
