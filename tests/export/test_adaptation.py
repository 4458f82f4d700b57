"""The adaptation as a program: what this package's own inner loop learns, and answers."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from autometa.errors import InputError
from autometa.export.adaptation import Adaptation
from autometa.export.program import export_adaptation
from autometa.models.model import Model
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.ops.primitives import register
from autometa.train.learned import Learned
from tests.export import made
from tests.export.made import NETWORKS, SHOTS, WAYS, adapted, answers, model, pictures, pruned
from tests.export.test_classifier import session
from tests.registries import restored

LABELS = torch.tensor([2, 0, 1, 1, 0, 2])


def task(start):
    """Support images, their labels, queries."""
    size = start.recipe.size
    return pictures(WAYS * SHOTS, size, 1), LABELS, pictures(4, size, 2)


def in_steps(start, steps, **inner):
    """The model with another number of steps and other settings of the inner loop."""
    config = start.config
    changed = replace(config, test=replace(config.test, steps=steps), inner=replace(config.inner, **inner))
    return replace(start, config=changed)


@pytest.mark.parametrize("kind", NETWORKS)
def test_it_learns_what_the_inner_loop_learns(kind):
    start = model(kind, torch.float64)
    support, labels, queries = task(start)
    wanted = answers(adapted(start, support, labels), queries)
    found = Adaptation(start, SHOTS)(support, labels, queries)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    untaught = answers(adapted(in_steps(start, 0), support, labels), queries)
    assert float((wanted - untaught).abs().max()) > 1e-2, "steps that change nothing show nothing"
    torch.testing.assert_close(
        Adaptation(in_steps(start, 0), SHOTS)(support, labels, queries), untaught, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("inner", [dict(adam_state="reset"), dict(weight_decay=0.0, batch_mode="replacement")])
def test_with_other_settings_of_the_inner_loop(inner):
    start = in_steps(model("strided", torch.float64), 4, **inner)
    support, labels, queries = task(start)
    wanted = answers(adapted(start, support, labels), queries)
    torch.testing.assert_close(Adaptation(start, SHOTS)(support, labels, queries), wanted, rtol=0, atol=1e-9)


def test_a_program_in_float64():
    start = model("genotype", torch.float64)
    support, labels, queries = task(start)
    wanted = answers(adapted(start, support, labels), queries)
    file = io.BytesIO(export_adaptation(start, SHOTS).encode("torch"))
    program = torch.export.load(file)
    found = program.module()(support=support, labels=labels, queries=queries)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
    graphs = [program.graph_module, *program.graph_module.children()]
    targets = [node.target for graph in graphs if hasattr(graph, "graph") for node in graph.graph.nodes]
    assert {op.namespace for op in targets if isinstance(op, torch._ops.OpOverload)} == {"aten"}


@pytest.mark.parametrize("kind", ["pooled", "genotype", "block cell"])
def test_a_program_for_onnx(kind):
    start = model(kind)
    support, labels, queries = task(start)
    wanted = answers(adapted(start, support, labels), queries)
    exported = export_adaptation(start, SHOTS)
    ran = session(exported.encode("onnx"))
    for count in (4, 1):
        given = {"support": support.numpy(), "labels": labels.numpy(), "queries": queries[:count].numpy()}
        (found,) = ran.run(None, given)
        np.testing.assert_allclose(found, wanted[:count], rtol=0, atol=1e-4)
        assert (found.argmax(axis=1) == wanted[:count].argmax(dim=1).numpy()).all()
    about = exported.metadata
    assert (about["ways"], about["shots"], about["steps"], about["batch"]) == (WAYS, SHOTS, 3, 4)


def test_what_cannot_be_exported_is_told():
    taught = pruned()
    network = taught.network.network
    start = Model(taught.config, network, Learned.untrained(network, 0), taught.recipe, "made up")
    with pytest.raises(InputError, match="autometa train"):
        export_adaptation(start, 1)
    with pytest.raises(InputError, match="at least one image"):
        export_adaptation(model("strided"), 0)


def test_a_primitive_of_ones_own_whose_gradient_has_no_form_is_told(monkeypatch):
    def pooled(x, relu_x, weights, slots, stride):
        return torch.nn.functional.avg_pool2d(x, 3, stride, 1, divisor_override=7)

    with restored():
        register("own_pool", lambda channels, stride: ((),), pooled, lambda *sizes: 0)
        cell = CellGenotype(((("own_pool", 0), ("conv_3x3", 1)),), (2,))
        monkeypatch.setattr(made, "GENOTYPE", Genotype(cell, cell))
        with pytest.raises(InputError, match="average pooling .* has no form there; export the adapted classifier"):
            export_adaptation(model("genotype"), SHOTS)


def test_a_torch_without_a_loop_to_export_is_told(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.6.0+cu124")
    with pytest.raises(InputError, match="needs torch 2.13 or later, here is 2.6.0"):
        export_adaptation(model("strided"), SHOTS)
