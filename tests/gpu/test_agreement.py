"""What a GPU computes is what the CPU computes: the reference in float64, and the golden files in float32."""

import pytest
import torch

from autometa.meta.inner_loop import slot_gradients
from autometa.ops.cross_entropy import cross_entropy
from tests.golden.__main__ import main
from tests.golden.made import Maker, write
from tests.golden.test_checker import MADE
from tests.golden.test_files import ABSENT, FILES
from tests.gpu.conftest import GPU
from tests.nas.networks import discrete, images_for, one_shot, rows
from tests.tolerances import assert_agree


@pytest.mark.parametrize("make", [one_shot, discrete], ids=["one-shot", "discrete"])
def test_the_reference_agrees_with_the_cpu_in_float64(make, monkeypatch):
    monkeypatch.setenv("AUTOMETA_BACKEND", "reference")
    network = make()
    phi = rows(network, 2, torch.float64)
    images, labels = images_for(network, 2, 4, torch.float64)

    def objective(row, x, y, step):
        return cross_entropy(network.logits(row, x), y)

    expected = slot_gradients(objective, phi, images, labels, 0)
    found = slot_gradients(objective, phi.to(GPU), images.to(GPU), labels.to(GPU), 0)
    for a, b in zip(found, expected, strict=True):
        assert_agree(a.cpu(), b, "discrete gradient", torch.float64)


@pytest.mark.parametrize("backend", ["triton", "cuda"])
@pytest.mark.skipif(not FILES, reason=ABSENT)
def test_golden_files(backend, capsys):
    status = main([*map(str, FILES), "--backend", backend, "--device", "cuda", "--dtype", "float32"])
    assert status == 0, [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]


@pytest.mark.parametrize("name", [name for name in MADE if name != "reptile"])
def test_made_up_golden_files(name, tmp_path, capsys):
    path = write(tmp_path, name, MADE[name](Maker(3)))
    assert main([str(path), "--device", "cuda", "--dtype", "float64", "--backend", "reference"]) == 0
    status = main([str(path), "--device", "cuda", "--dtype", "float32"])
    assert status == 0, capsys.readouterr().out
