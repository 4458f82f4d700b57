"""The command line of the checker, and files of names that the folder does not hold."""

import json
import subprocess
import sys

import numpy as np
import pytest

from autometa.ops import backend
from tests.golden.__main__ import main
from tests.golden.genotypes import GENOTYPES
from tests.golden.made import Maker, write
from tests.golden.test_files import FILES, stored

SEPARABLE = {
    f"stage{k}_{role}": shape
    for k in (0, 1)
    for role, shape in (("depthwise", (4, 1, 5, 5)), ("pointwise", (4, 4, 1, 1)))
}
MADE = {
    "primitive_sep_conv_5x5": lambda m: m.primitive(2, 9, SEPARABLE) | m.primitive(1, 8, SEPARABLE),
    "cell_reduction_after_reduction": lambda m: m.cell(True, True),
    "cell_normal": lambda m: m.cell(False, False),
    "supernet_28_plain": lambda m: m.supernet(4, (1, 12, 12), False, {"t0.5": 0.5}),
    "supernet_84": lambda m: m.supernet(2, (3, 12, 12), True, {"t1": 1.0, "t0.05": 0.05}),
    "discrete_someone_elses_L5": lambda m: m.discrete(5),
    "meta_gradients_bn": lambda m: m.meta_gradients(True),
    "reptile": lambda m: {"theta": m.normal(7), "phi": m.normal(3, 7), "theta_new/0.25": m.normal(7)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


@pytest.mark.parametrize("name", [name for name in MADE if name != "reptile"])
def test_other_names_are_recognised(folder, name, capsys):
    path = write(folder, name, MADE[name](Maker(3)))
    assert main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert "unknown" not in printed and " 0 failed" in printed
    assert main([str(path), "--dtype", "float32"]) == 0
    if backend.compiled() is not None:
        assert main([str(path), "--dtype", "float32", "--backend", "cpp"]) == 0


@pytest.mark.parametrize("name", ["primitive_sep_conv_5x5", "supernet_28_plain", "discrete_someone_elses_L5"])
def test_wrong_number_in_a_copy_fails(folder, tmp_path, name, capsys):
    with np.load(write(folder, name, MADE[name](Maker(4)))) as archive:
        arrays = dict(archive)
    key = next(k for k in arrays if k.split("/")[-1] in ("dx", "loss"))
    arrays[key] = arrays[key] + 1e-6
    copy = tmp_path / f"{name}.npz"
    np.savez(copy, **arrays)
    assert main([str(copy)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_wrong_formula_fails(tmp_path, capsys):
    path = tmp_path / "reptile.npz"
    inputs = MADE["reptile"](Maker(5))
    theta, phi = inputs["theta"], inputs["phi"]
    np.savez(path, **inputs | {"theta_new/0.25": theta + 0.25 * (phi.mean(axis=0) - theta)})
    assert main([str(path)]) == 0
    np.savez(path, **inputs | {"theta_new/0.25": theta + 0.26 * (phi.mean(axis=0) - theta)})
    assert main([str(path)]) == 1
    assert "first at theta_new" in capsys.readouterr().out


@stored
def test_wrong_row_in_a_table_fails(tmp_path, capsys):
    for name in ("name_map.json", "param_counts.json"):
        table = json.loads(next(p for p in FILES if p.name == name).read_text())
        rows = table["discrete"] if name == "param_counts.json" else table["discrete_metanas_v1_L5"]
        row, key = (rows[3], "weights") if name == "param_counts.json" else (rows[40], "input")
        row[key] += 1
        path = tmp_path / name
        path.write_text(json.dumps(table))
        assert main([str(path)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_name_map_of_an_unknown_genotype(tmp_path):
    """The genotype is read off the rows where its name is not known."""
    from autometa.nas.networks.discrete import DiscreteNetwork
    from tests.golden.names import network_parameters

    network = DiscreteNetwork(GENOTYPES["metanas_v1"], 4, 5, (1, 28, 28))
    rows = [p.entry() for p in network_parameters(network.network, search=False)]
    path = tmp_path / "name_map.json"
    path.write_text(json.dumps({"discrete_nobody_L4": rows}))
    assert main([str(path)]) == 0
    path.write_text(json.dumps({"discrete_nobody_L4": rows[:-1] + [rows[-1] | {"what": "bias"}]}))
    assert main([str(path)]) == 1


def test_settings_must_be_those_of_the_name(folder):
    path = write(folder, "cell_reduction", Maker(6).cell(True, False))
    wrong = path.with_name("cell_normal_after_reduction.npz")
    wrong.write_bytes(path.read_bytes())
    assert main([str(wrong)]) in (1, 2)


def test_undescribed_array_is_listed(folder, tmp_path, capsys):
    with np.load(write(folder, "primitive_sep_conv_5x5", MADE["primitive_sep_conv_5x5"](Maker(7)))) as archive:
        arrays = dict(archive)
    path = tmp_path / "primitive_sep_conv_5x5.npz"
    np.savez(path, extra=np.zeros(3), **arrays)
    assert main([str(path)]) == 0
    assert "unknown      extra" in capsys.readouterr().out


def unusable(tmp_path):
    garbage = tmp_path / "reptile.npz"
    garbage.write_bytes(b"PK\x03\x04 this is no archive")
    pickled = tmp_path / "adam.npz"
    np.savez(pickled, p0=np.array([{"a": 1}], dtype=object))
    incomplete = tmp_path / "mixed_op.npz"
    np.savez(incomplete, primitives=np.array(["conv_3x3"]), **{"s1_n8/x": np.zeros((1, 4, 8, 8))})
    crooked = tmp_path / "primitive_none.npz"
    np.savez(crooked, **{"case/x": np.zeros(1)})
    table = tmp_path / "param_counts.json"
    table.write_text('{"search": [{}], "discrete": []}')
    return {
        "missing file": tmp_path / "supernet_28.npz",
        "unknown name": tmp_path / "supernet.npz",
        "unknown primitive": tmp_path / "primitive_conv_9x9.npz",
        "not an archive": garbage,
        "pickled": pickled,
        "an array missing": incomplete,
        "unknown case": crooked,
        "not the table": table,
    }


@pytest.mark.parametrize(
    "what",
    [
        "missing file",
        "unknown name",
        "unknown primitive",
        "not an archive",
        "pickled",
        "an array missing",
        "unknown case",
        "not the table",
    ],
)
def test_unusable_file_is_one_sentence(tmp_path, what, capsys):
    path = unusable(tmp_path)[what]
    assert main([str(path)]) == 2
    errors = capsys.readouterr().err.strip()
    assert len(errors.splitlines()) == 1 and str(path) in errors


def test_bad_arguments_exit_2():
    for arguments in ([], ["x.npz", "--backend", "abacus"], ["x.npz", "--dtype", "int8"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2


def test_backend_that_provides_nothing(folder, capsys):
    """The `cuda` backend has no cross-entropy of its own, so no group of a network is its to check."""
    path = write(folder, "meta_gradients_bn", Maker(8).meta_gradients(True))
    assert main([str(path), "--backend", "cuda"]) == 1
    printed = capsys.readouterr()
    assert "not provided by cuda" in printed.out and "nothing was checked" in printed.err
    assert main([str(path), "--backend", "reference"]) == 0


def test_as_a_module(folder):
    path = write(folder, "primitive_skip_connect", Maker(9).primitive(1, 8, {}))
    done = subprocess.run([sys.executable, "-m", "tests.golden", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "largest relative error" in done.stdout


def test_a_gpu_that_is_not_there_is_one_sentence(folder, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path = write(folder, "primitive_sep_conv_5x5", MADE["primitive_sep_conv_5x5"](Maker(5)))
    assert main([str(path), "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "no CUDA GPU is usable here; leave --device out\n"
    assert main([str(path), "--device", "cpu"]) == 0
