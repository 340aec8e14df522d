"""The image folder: exact round trip, reproducible bytes, and every way to spoil it."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest

import tritforge.model_export.image.folder as image_module
from tests.common.documents import other_types
from tests.model_export.networks import (
    bound_network,
    compile_network,
    random_codes,
    random_config,
    random_network,
    streamed,
)
from tritforge.common import files as folders
from tritforge.common.json_types import JsonError
from tritforge.hw.config import Config
from tritforge.model_export.compiled import CompiledNetwork
from tritforge.model_export.errors import ImageError
from tritforge.model_export.image.folder import load_image, write_image
from tritforge.model_export.image.manifest import MOST_FILES, Manifest, files_of, seal
from tritforge.model_export.image.packing import pack_flat, pack_plain
from tritforge.model_export.network import ColumnGroup, Fold, Layer, Network, Requantization, Tensor
from tritforge.model_export.passes.fold import fold_candidates, fold_input, space_to_depth

#: Files of an image for a configuration without activation tables.
FILES = files_of(Config().to_dict())


@pytest.fixture
def folder(tmp_path):
    """A good image."""
    network, _ = bound_network(np.random.default_rng(0), Config())
    return write_image(
        tmp_path / "net.image", CompiledNetwork(network, compile_network(network, Config()))
    )


def assert_same(one, other):
    """Dataclasses equal in every field, arrays in dtype too."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def test_a_streamed_image_round_trips(tmp_path):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network = random_network(rng, config)
        memory = streamed(rng, network, config)
        image = load_image(write_image(tmp_path / "image", CompiledNetwork(network, memory)))
        assert_same(image.memory, memory)
        streaming = image.manifest.streaming
        assert streaming.passes == len(memory.schedule.passes)
        assert network.input in streaming.external_tensors
        sent, read = memory.schedule.port_words(memory.config, range(len(memory.schedule.passes)))
        assert (streaming.sent_words, streaming.read_words) == (sent, read)
        assert sent >= memory.tensors[network.input].size


def test_round_trip(tmp_path):
    for seed in range(25):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network = random_network(rng, config)
        network.layers[0].gain *= 0.1 + 0.2  # floats survive exactly
        memory = compile_network(network, config)
        path = write_image(tmp_path / f"{seed}", CompiledNetwork(network, memory))
        image = load_image(path)
        assert_same(image.network, network)
        assert_same(image.memory, memory)
        assert image.config == config
        codes = random_codes(rng, network)
        np.testing.assert_array_equal(image.memory.input_words(codes), memory.input_words(codes))
        image.require(dataclasses.replace(config, name="another name"))


def test_fold_survives(folder, tmp_path):
    """Users see the input as it was; memory contents are those of the folded one."""
    config = Config(trit_depth=4096)
    rng = np.random.default_rng(0)
    tensor = Tensor("input", 3, 10, 9, 0.5)
    group = ColumnGroup(
        "input",
        (0, 3),
        (0, 4),
        rng.integers(-1, 2, (4, 3, 4, 3)).astype(np.int8),
        (4, 3),
        1.0,
        1.0,
        (2, 3),
        (1, 1),
        coefficient_plus=1,
        coefficient_minus=1,
    )
    layer = Layer("conv", "conv", "out", 4, 5, 3, [group], np.ones(4), np.zeros(4), final=True)
    layer.requantization = Requantization(
        np.ones(4, np.int64), np.zeros(4, np.int64), np.zeros(4, np.int64), -1 << 31, (1 << 31) - 1
    )
    plain = Network("net", "input", {"input": tensor, "out": Tensor("out", 4, 5, 3, 1.0)}, [layer])
    for fold in fold_candidates(plain):
        memory = compile_network(fold_input(plain, fold), config)
        image = load_image(write_image(tmp_path / "shaped", CompiledNetwork(plain, memory)))
        assert_same(image.network, plain)
        assert_same(image.memory, memory)
        assert_same(image.computed, fold_input(plain, fold))
        assert image.manifest.input.shape == (3, 10, 9) and image.manifest.input.fold == fold
    # networks that were folded before they were compiled, as images may hold them
    network = fold_input(plain, space_to_depth(plain))
    memory = compile_network(network, config)
    image = load_image(write_image(tmp_path / "folded", CompiledNetwork(network, memory)))
    assert_same(image.network, network)
    assert_same(image.memory, memory)
    assert image.computed is image.network
    assert image.network.tensors["input"].fold == Fold(3, 10, 9, (2, 3), (1, 1))
    assert image.manifest.input.shape == (3, 10, 9)
    assert image.manifest.input.fold.block == (2, 3)
    assert load_image(folder).manifest.input.fold is None
    text = json.loads((tmp_path / "folded" / "network.json").read_text())
    for change in ({"block": [2, 2]}, {"block": [0, 1]}, {"height": 40}, {"padding": [1]}):
        forged = json.dumps(
            {
                **text,
                "tensors": [
                    {**text["tensors"][0], "fold": {**text["tensors"][0]["fold"], **change}},
                    *text["tensors"][1:],
                ],
            }
        )
        (tmp_path / "folded" / "network.json").write_text(forged)
        digest = hashlib.sha256(forged.encode()).hexdigest()
        reseal(
            tmp_path / "folded",
            lambda manifest, digest=digest: manifest["sha256"].update({"network.json": digest}),
        )
        with pytest.raises(ImageError, match="cannot be understood"):
            load_image(tmp_path / "folded")


def test_reproducible(tmp_path):
    for name in ("one", "two"):
        rng = np.random.default_rng(3)
        config = random_config(rng)
        network = random_network(rng, config)
        write_image(tmp_path / name, CompiledNetwork(network, compile_network(network, config)))
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]
    names = files_of(config.to_dict())
    assert sorted(os.listdir(tmp_path / "one")) == sorted(["manifest.json", *names])
    for name in os.listdir(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_activation_tables_survive(tmp_path):
    """They are a file of their own where the configuration has any, and nowhere else."""
    assert set(MOST_FILES) == {*FILES, "tables.bin"}
    config = Config(activation_tables=3, trit_depth=1 << 14, activation_depth=1 << 12)
    seen = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        network = random_network(rng, config, max_channels=12)
        memory = compile_network(network, config)
        path = write_image(tmp_path / f"{seed}", CompiledNetwork(network, memory))
        image = load_image(path)
        assert_same(image.network, network)
        assert_same(image.memory, memory)
        tabled = [layer for layer in network.layers if layer.requantization.table is not None]
        assert (path / "tables.bin").stat().st_size == len(memory.tables)
        assert image.manifest.sizes.tables_bytes == len(memory.tables)
        assert [entry.name for entry in image.manifest.layers if entry.activation_table] == [
            layer.name for layer in tabled
        ]
        seen += len(tabled)
        forged = (path / "tables.bin").read_bytes() + b"\0"
        (path / "tables.bin").write_bytes(forged)
        digest = hashlib.sha256(forged).hexdigest()
        reseal(path, lambda values, d=digest: values["sha256"].update({"tables.bin": d}))
        with pytest.raises(ImageError, match="activation tables cannot take"):
            load_image(path)
        (path / "tables.bin").unlink()
        with pytest.raises(ImageError, match=r"incomplete: tables\.bin is missing"):
            load_image(path)
    assert seen > 3


def test_a_damaged_table_is_a_sentence(tmp_path):
    config = Config(activation_tables=1)
    network, _ = bound_network(np.random.default_rng(0), config)
    network.layers[0].requantization.table = np.arange(256)
    path = write_image(
        tmp_path / "image", CompiledNetwork(network, compile_network(network, config))
    )
    document = json.loads((path / "network.json").read_text())
    entry = document["layers"][0]["requantization"]["table"]
    document["layers"][1]["requantization"]["table"] = {**entry, "shape": [16, 16]}
    forged = json.dumps(document)
    (path / "network.json").write_text(forged)
    digest = hashlib.sha256(forged.encode()).hexdigest()
    reseal(path, lambda values: values["sha256"].update({"network.json": digest}))
    with pytest.raises(ImageError, match="has 256 entries, not the shape"):
        load_image(path)


def test_manifest(tmp_path):
    network, _ = bound_network(np.random.default_rng(0), Config())
    network.layers[0].weight_count = 1000
    network.layers[0].groups = network.layers[0].groups[:1]
    memory = compile_network(network, Config(name="mine"))
    path = write_image(
        tmp_path / "deep" / "image", CompiledNetwork(network, memory), {"checkpoint": "x.pt"}
    )
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["format"] == "tritforge image" and manifest["format_version"] == 4
    assert manifest["network"] == "bound" and manifest["extra"] == {"checkpoint": "x.pt"}
    assert manifest["configuration"]["name"] == "mine"
    assert manifest["configuration_identity"] == Config().identity
    assert manifest["input"]["shape"] == [network.tensors["input"].channels, 1, 1]
    assert manifest["output"]["shape"] == [5, 1, 1]
    first, second = manifest["layers"]
    assert first["ternary"] and first["weights"] == 1000 and not second["ternary"]
    assert first["trits_bytes"] == -(-network.layers[0].groups[0].trits.size // 4)
    assert first["groups"][0]["coefficient_plus"] == network.layers[0].groups[0].coefficient_plus
    assert first["accumulator_bits"] <= 24
    assert -(1 << first["accumulator_bits"] - 1) <= first["accumulator_low"]
    assert first["accumulator_high"] < 1 << first["accumulator_bits"] - 1
    sizes = manifest["sizes"]
    assert sizes["trits_bytes"] == memory.trits.nbytes
    for part, names in (
        ("network", ("network.bin", "network.json")),
        ("folder", FILES),
        ("accelerator", ("program.bin", "rows.bin", "trits.bin")),
    ):
        size = sum((path / name).stat().st_size for name in names)
        assert sizes["files"][part] == {"bytes": size, "float32_over_bytes": round(4000 / size, 3)}
    group = network.layers[0].groups[0]
    assert (
        first["packed_bytes"]
        == first["groups"][0]["packed_bytes"]
        == min(len(pack_plain(group.trits)), len(pack_flat(group.trits)))
    )
    assert first["bits_per_weight"] == 8 * first["packed_bytes"] / 1000
    assert sizes["whole"]["packed_bytes"] == sum(
        layer["packed_bytes"] for layer in manifest["layers"]
    )
    assert sizes["whole"]["float32_bytes"] == sizes["ternary_layers"]["float32_bytes"] == 4000


def test_existing_image_is_replaced_and_nothing_else(folder, tmp_path):
    before = load_image(folder)
    other, _ = bound_network(np.random.default_rng(9), Config(), signed=True)
    memory = compile_network(other, Config())
    write_image(folder, CompiledNetwork(other, memory))
    assert load_image(folder).manifest != before.manifest
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "empty", CompiledNetwork(other, memory))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    shutil.copytree(folder, tmp_path / "mixed")
    (tmp_path / "mixed" / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    for name in ("file", "thesis", "mixed", "link"):
        with pytest.raises(ImageError, match="exists and is not a tritforge image"):
            write_image(tmp_path / name, CompiledNetwork(other, memory))
    assert (tmp_path / "file").read_text() == "mine"
    assert os.listdir(tmp_path / "thesis") == ["chapter.tex"]
    with pytest.raises(ImageError, match="cannot be written"):
        write_image(tmp_path / "file" / "image", CompiledNetwork(other, memory))
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(28, "No space left")])
@pytest.mark.parametrize("existing", [False, True])
def test_interrupted_export(folder, tmp_path, monkeypatch, error, existing):
    network, _ = bound_network(np.random.default_rng(5), Config())
    memory = compile_network(network, Config())
    target = folder if existing else tmp_path / "new"
    manifest = (folder / "manifest.json").read_bytes()
    written = []

    def interrupted(path, raw):
        written.append(path)
        if len(written) == 4:
            raise error
        with path.open("wb") as file:
            file.write(raw)

    monkeypatch.setattr(image_module.Path, "write_bytes", interrupted)
    with pytest.raises(ImageError if isinstance(error, OSError) else error):
        write_image(target, CompiledNetwork(network, memory))
    assert os.listdir(tmp_path) == ["net.image"]
    assert (folder / "manifest.json").read_bytes() == manifest
    load_image(folder)


def test_failing_rename_restores_the_old_image(folder, tmp_path, monkeypatch):
    network, _ = bound_network(np.random.default_rng(5), Config())
    memory = compile_network(network, Config())
    before = load_image(folder).manifest
    rename = os.rename

    def failing(source, target):
        if ".partial-" in str(source):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(folders.os, "rename", failing)
    with pytest.raises(ImageError, match="cannot be written: Input/output error"):
        write_image(folder, CompiledNetwork(network, memory))
    assert load_image(folder).manifest == before
    assert os.listdir(tmp_path) == ["net.image"]


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_every_altered_file_is_noticed(folder, name):
    path = folder / name
    good = path.read_bytes()
    for spoiled in (
        good[:-1],
        good[: len(good) // 2],
        b"",
        good + b"\0",
        bytes([good[0] ^ 1]) + good[1:],
        good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 4]) + good[len(good) // 2 + 1 :],
    ):
        path.write_bytes(spoiled)
        if name == "manifest.json" and spoiled == good[:-1]:
            load_image(folder)  # only the newline is gone
            continue
        with pytest.raises(ImageError) as caught:
            load_image(folder)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(ImageError, match=f"incomplete: {name} is missing|it has no manifest"):
        load_image(folder)
    path.mkdir()
    with pytest.raises(ImageError, match=f"{name} of image .* cannot be read"):
        load_image(folder)


def reseal(folder, change):
    """Alter the manifest and make its own checksum right again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    manifest["manifest_sha256"] = seal(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_manifest_values_are_covered(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["input"]["scale"] = 7.0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ImageError, match=r"manifest\.json does not match its checksum"):
        load_image(folder)


def test_manifest_comes_back_as_it_was(tmp_path):
    """Whole and streamed, with a fold and without."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        config = random_config(rng)
        network = random_network(rng, config)
        memory = streamed(rng, network, config) if seed % 2 else compile_network(network, config)
        path = write_image(tmp_path / "image", CompiledNetwork(network, memory), {"a": [1, None]})
        text = (path / "manifest.json").read_text(encoding="utf-8")
        manifest = load_image(path).manifest
        assert json.dumps(manifest.to_json(), indent=1, ensure_ascii=False) + "\n" == text
        assert Manifest.from_json(json.loads(text)) == manifest
        assert manifest.extra == {"a": [1, None]}


def test_every_field_of_another_type_is_named(tmp_path):
    """Sealed again, the manifest is refused by a sentence that says which field is wrong."""
    rng = np.random.default_rng(1)
    network = random_network(rng, Config())
    compiled = CompiledNetwork(network, streamed(rng, network, Config()))
    folder = write_image(tmp_path / "image", compiled, {"a": 1})
    manifest = json.loads((folder / "manifest.json").read_text())
    optional = {"streaming", "fold", "pool", "bits_per_weight", "needed"}
    optional |= {f"float32_over_{one}" for one in ("bytes", "trits", "packed", "memory")}
    count = 0
    for path, other in other_types(manifest, optional):
        if not path.startswith(("configuration.", "extra.")):  # anything; Config's to check
            with pytest.raises(JsonError) as caught:
                Manifest.from_json(other, "manifest.json")
            assert str(caught.value).startswith("manifest.json" + (f": {path}" if path else ""))
            count += 1
    assert count > 400
    manifest["layers"][0]["rows"] = "many"
    reseal(folder, lambda values: values.update(layers=manifest["layers"]))
    with pytest.raises(
        ImageError, match=r"understood: manifest\.json: layers\[0\]\.rows is 'many'"
    ):
        load_image(folder)


def test_foreign_and_missing(folder, tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        load_image(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="is not a folder"):
        load_image(folder / "rows.bin")
    (tmp_path / "other").mkdir()
    with pytest.raises(ImageError, match=r"it has no manifest\.json"):
        load_image(tmp_path / "other")
    for text in ("[]", '{"name": "a web extension"}'):
        (tmp_path / "other" / "manifest.json").write_text(text)
        with pytest.raises(ImageError, match="another program's"):
            load_image(tmp_path / "other")
    (folder / "payload.pkl").write_bytes(b"")
    with pytest.raises(ImageError, match=r"holds payload\.pkl, which is no part of an image"):
        load_image(folder)


def test_other_version_and_configuration(folder):
    image = load_image(folder)
    with pytest.raises(ImageError, match=r"compiled for configuration custom .*, not for custom"):
        image.require(dataclasses.replace(Config(), rows=3))
    reseal(folder, lambda manifest: manifest.update(configuration_identity="0" * 64))
    with pytest.raises(ImageError, match="configuration does not match its identity"):
        load_image(folder)
    reseal(folder, lambda manifest: manifest["configuration"].update(rows=99))
    with pytest.raises(ImageError, match=r"no valid configuration: .*rows is 99.* export it again"):
        load_image(folder)
    reseal(folder, lambda manifest: manifest["configuration"].update(single_port=False))
    with pytest.raises(ImageError, match=r"field single_port, which is now .*; export it again$"):
        load_image(folder)
    reseal(folder, lambda manifest: manifest.update(format_version=1))
    with pytest.raises(ImageError, match="format version 1; this tritforge reads version 4"):
        load_image(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda schedule: schedule["passes"].clear(),
        lambda schedule: schedule["passes"][0].update(done=1 << 31),
        lambda schedule: schedule["passes"][0].update(row_start=None),
        lambda schedule: schedule["passes"][0]["loads"][0].update(base=1 << 30),
        lambda schedule: schedule["passes"][0]["units"].clear(),
        lambda schedule: schedule.update(passes=7),
        lambda schedule: schedule.clear(),
    ],
)
def test_forged_schedules_are_refused(tmp_path, change):
    rng = np.random.default_rng(1)
    network = random_network(rng, Config())
    memory = streamed(rng, network, Config())
    folder = write_image(tmp_path / "image", CompiledNetwork(network, memory))
    document = json.loads((folder / "layout.json").read_text())
    change(document["schedule"])
    text = json.dumps(document)
    (folder / "layout.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    reseal(folder, lambda manifest: manifest["sha256"].update({"layout.json": digest}))
    with pytest.raises(ImageError, match="cannot be understood"):
        load_image(folder)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"name": 1}',
        '{"name": "x", "input": "t", "tensors": [{"a": 1}], "layers": []}',
        '{"name": "x", "input": "t", "tensors": [], "layers": [{}]}',
    ],
)
def test_forged_contents_are_refused(folder, text):
    """Right checksums do not make contents right."""
    forge(folder, "network.json", text.encode())
    with pytest.raises(ImageError, match=r"cannot be understood: network\.json"):
        load_image(folder)


def forge(folder, name, raw):
    """Replace a file, and make the checksums right again."""
    (folder / name).write_bytes(raw)
    digest = hashlib.sha256(raw).hexdigest()
    reseal(folder, lambda manifest: manifest["sha256"].update({name: digest}))


def forge_at(folder, name, place, value):
    """Replace one value of a JSON file, and make the checksums right again."""
    document = json.loads((folder / name).read_text())
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    forge(folder, name, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (["input"], "nothing", "nothing, which nothing before it computes|reads"),
        (["layers", 0, "rows"], 10**9, "layer .* gives"),
        (["layers", 0, "height"], -1, "layer .* is "),
        (["layers", 0, "output"], "nothing", "has no output tensor nothing"),
        (["layers", 0, "final"], True, "not the last layer alone is final"),
        (["layers", 0, "requantization"], None, "has no requantization"),
        (["layers", 0, "groups", 0, "source"], "nothing", "reads nothing"),
        (["layers", 0, "groups", 0, "rows", 0], 10**9, "has rows 1000000000 to"),
        (["layers", 0, "groups", 0, "channels", 1], 10**6, "has channels 0 to 1000000 of"),
        (["layers", 0, "groups", 0, "channels", 0], -1, "has channels -1 to"),
        (["layers", 0, "groups", 0, "kernel", 1], 99, r"has trits \(.*\), not"),
        (["layers", 0, "groups", 0, "stride", 0], 0, "has a kernel, stride or dilation below 1"),
        (
            ["layers", 0, "groups", 0, "windows", 1],
            {"first": [0] * 99, "begin": [0] * 99, "end": [1] * 99},
            "windows for another number of outputs",
        ),
        (["layers", 0, "groups", 0, "padding", 0], 10**9, "reads 1000000000 pixels beyond"),
        (["tensors", 0, "width"], 0, "tensor .* is "),
    ],
)
def test_networks_that_contradict_themselves_are_refused(folder, place, value, sentence):
    forge_at(folder, "network.json", place, value)
    with pytest.raises(ImageError, match=f"cannot be understood: .*({sentence})"):
        load_image(folder)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (["input"], "nothing", "the input is nothing in memory"),
        (["tensors", 0, "channels"], 1, "is in memory as"),
        (["tensors", 0, "base"], -1, "takes words -1"),
        (["tensors", 0, "base"], 10**9, "takes words 1000000000"),
        (["tensors", 0, "words"], 0, "channels outside the activation memories"),
        (["tensors"], [], "not those of the network"),
        (["layers"], [], "not those of the network"),
        (["layers", 0, "address"], 10**9, "begins at word 1000000000"),
        (["results", "rows"], 1, "results are"),
        (["results", "entries"], 1, "results lie outside"),
    ],
)
def test_layouts_that_contradict_the_network_are_refused(folder, place, value, sentence):
    forge_at(folder, "layout.json", place, value)
    with pytest.raises(ImageError, match=f"cannot be understood: .*({sentence})"):
        load_image(folder)


def test_lost_row_entries_are_noticed(folder):
    """Whoever reads them need not look for their end."""
    size = 4 * Config().memory_chunks("rows")
    forge(folder, "rows.bin", (folder / "rows.bin").read_bytes()[:-size])
    with pytest.raises(ImageError, match=r"there are [0-9]+ row entries, the layers have [0-9]+"):
        load_image(folder)


@pytest.mark.parametrize("name", ["program.bin", "rows.bin"])
def test_half_words_are_a_sentence(folder, name):
    forge(folder, name, (folder / name).read_bytes() + b"\0")
    with pytest.raises(ImageError, match=f"{name} cannot take [0-9]+ bytes"):
        load_image(folder)


def test_names_that_are_no_unicode_survive(tmp_path):
    """As the names of files may be."""
    network, _ = bound_network(np.random.default_rng(0), Config())
    network.name = "\udcff"
    memory = compile_network(network, Config())
    image = load_image(write_image(tmp_path / "image", CompiledNetwork(network, memory)))
    assert image.network.name == image.manifest.network == "\udcff"


def test_loading_runs_no_code(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for name in FILES:
        good, manifest = (folder / name).read_bytes(), (folder / "manifest.json").read_bytes()
        raw = pickle.dumps(Bomb())
        (folder / name).write_bytes(raw)
        digest = hashlib.sha256(raw).hexdigest()
        reseal(folder, lambda values, n=name, d=digest: values["sha256"].update({n: d}))
        with contextlib.suppress(ImageError):
            load_image(folder)
        (folder / name).write_bytes(good)
        (folder / "manifest.json").write_bytes(manifest)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("sets", [1, 2, 3])
def test_layers_take_no_more_than_there_is(tmp_path, sets):
    """Tiles of a layer of one pixel are dealt to the sets, all others are held by each."""
    rng = np.random.default_rng(sets)
    config = Config(sets=sets, clusters=2, elements=2, rows=2, scan_width=2)
    network = random_network(rng, config)
    memory = compile_network(network, config)
    image = load_image(write_image(tmp_path / "image", CompiledNetwork(network, memory)))
    layers = image.manifest.layers
    column = memory.trits.shape[2]
    for layer, place in zip(layers, memory.layers, strict=True):
        held = layer.memory.trit_bytes / (config.clusters * column * place.columns)
        assert held == (sets if place.pixels > 1 else 1)
