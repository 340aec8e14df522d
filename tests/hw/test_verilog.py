"""The generated Verilog: what is in it, how often, and that it is reproducible."""

import json
import re

import pytest

from tritforge.hw.config import Config
from tritforge.hw.payloads import PROBE_LEVELS, PROBE_PULSES, probe
from tritforge.hw.presets import PRESETS
from tritforge.hw.timing import multiplier_parts
from tritforge.hw.verilog import TOP_NAME, generate_verilog, sidecar, write_verilog


def modules(verilog):
    """Module texts by name."""
    return {
        match[1]: match[0]
        for match in re.finditer(r"^module (\\?[^\s(#]+) ?[ (#].*?^endmodule", verilog, re.M | re.S)
    }


def instances(text):
    """Names of the modules that a module instantiates, one entry each."""
    return re.findall(r"^  (\\?[\w.]+) +(?:#\(.*?^  \) )?\\?[\w.]+ +\($", text, re.M | re.S)


def multiplications(found, name):
    """Multiplications in a module and all below it."""
    own = len(re.findall(r"\s\*\s", re.sub(r"\(\*.*?\*\)", "", found[name])))
    if name.startswith("chunk_memory"):  # its only products are parameter arithmetic
        own = 0
    return own + sum(multiplications(found, child) for child in instances(found[name]))


@pytest.mark.compiles
@pytest.mark.parametrize("name", PRESETS)
def test_two_weight_multipliers_per_cluster(name):
    config = PRESETS[name]
    found = modules(generate_verilog(config))
    below = {child: instances(text) for child, text in found.items()}
    assert below["\\cluster.contents"].count("processing_element") == config.elements
    counts = {child: sum(children.count(child) for children in below.values()) for child in below}
    assert counts["cluster"] == config.cluster_count
    assert counts["activation_slice"] == config.clusters
    in_elements = config.adders if config.multipliers else 0
    assert multiplications(found, "processing_element") == config.multipliers
    scalers = 0 if config.logic_scalers else 2
    assert multiplications(found, "cluster") == scalers + in_elements // config.cluster_count
    assert multiplications(found, TOP_NAME) == (
        scalers * config.cluster_count + in_elements + config.drain_width * multiplier_parts(config)
    )


@pytest.mark.compiles
@pytest.mark.parametrize("name", ["cluster", TOP_NAME])
def test_no_port_is_a_keyword(name):
    """Not of the modules that Verilator makes libraries of: it does not escape names of ports."""
    text = modules(generate_verilog(PRESETS["tiny"]))[name]
    ports = re.findall(r"^  (?:input|output)\b.* (\S+) ?[,;]", text, re.M)
    assert len(ports) > 5
    assert not [port for port in ports if re.fullmatch(r"\\\w+", port)]


def test_sidecar_counts_all_sets():
    described = sidecar(PRESETS["alexnet"])
    assert described["processing_elements"] == 512 and described["weight_multipliers"] == 64
    assert described["element_multipliers"] == 512
    assert {name: memory["instances"] for name, memory in described["memories"].items()} == {
        "program": 1,
        "trits": 32,
        "activations": 8,
        "rows": 1,
        "results": 1,
        "counters": 1,
    }


@pytest.mark.parametrize("sets", [1, 2, 16])
def test_what_the_observation_port_says_fits_a_native_word(sets):
    """Its single bits come first, those of one cycle before those that last."""
    layout = probe(Config(sets=sets))
    assert 32 < layout.size <= 64
    fields = dict(layout)
    assert [fields[name].offset for name in (*PROBE_PULSES, *PROBE_LEVELS)] == list(
        range(len(PROBE_PULSES) + len(PROBE_LEVELS))
    )


@pytest.mark.compiles
def test_the_same_configuration_gives_the_same_text():
    config = Config(clusters=1, elements=2, rows=3)
    assert generate_verilog(config) == generate_verilog(config)


def test_sidecar_describes_the_memories(tmp_path):
    config = PRESETS["ulx3s_85f"]
    verilog, side = write_verilog(config, tmp_path / "out")
    assert verilog.name == "accelerator.v" and "module accelerator(" in verilog.read_text()
    described = json.loads(side.read_text())
    assert described == sidecar(config)
    assert described["identity"] == config.identity
    top = modules(verilog.read_text())["accelerator"]
    for stream in described["ports"].values():
        for direction, ports in stream.items():
            for port, shape in ports.items():
                width = f"[{shape['width'] - 1}:0] " if shape["width"] > 1 else ""
                assert f"  {direction} {width}{port};\n" in top
    bits = described["ports"]["probe"]["output"]["probe"]
    assert bits["layer_started"] == 0 and bits["drain_stalled"] == 5
    assert bits["y"] == [bits["width"] - 16, bits["width"] - 1]
    assert described["memories"]["trits"] == {
        "number": 1,
        "instances": 8,
        "width_bits": 256,
        "depth": 512,
        "port_words_per_word": 8,
        "readable": False,
        "writable": True,
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "accelerator.json",
        "accelerator.v",
    ]
