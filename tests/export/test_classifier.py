"""Adapted classifiers as programs: the same probabilities, plain ops, nothing of what was pruned."""

import json
from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch

from autometa.errors import InputError
from autometa.export.onnx_graph import onnx_model
from autometa.export.program import METADATA, Exported, export_classifier
from autometa.nas.one_shot.pruned import remaining
from autometa.ops.primitives import PRIMITIVES
from tests.export.made import NETWORKS, SHOTS, WAYS, adapted, model, pictures, pruned

KINDS = ("pruned", *NETWORKS)
LABELS = torch.arange(WAYS).repeat(SHOTS)


@cache
def made(kind):
    """A classifier of this kind, and its program."""
    if kind == "pruned":
        classifier = pruned()
    else:
        start = model(kind)
        classifier = adapted(start, pictures(len(LABELS), start.recipe.size, 1), LABELS)
    return classifier, export_classifier(classifier)


def session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_those_of_the_classifier(kind, tmp_path):
    classifier, exported = made(kind)
    images = pictures(5, classifier.recipe.size, 2)
    wanted = classifier.probabilities(images)
    assert float((wanted - wanted[:1]).abs().max()) > 1e-3, "pictures that are all answered alike show nothing"
    exported.save(tmp_path / "made.pt2", "torch")
    extra = {METADATA: ""}
    loaded = torch.export.load(tmp_path / "made.pt2", extra_files=extra).module()
    ran = session(exported.encode("onnx"))
    for count in (5, 1):
        torch.testing.assert_close(loaded(images=images[:count]), wanted[:count], rtol=0, atol=1e-5)
        (found,) = ran.run(None, {"images": images[:count].numpy()})
        np.testing.assert_allclose(found, wanted[:count], rtol=0, atol=1e-5)
    for metadata in (extra[METADATA], ran.get_modelmeta().custom_metadata_map["autometa"]):
        assert json.loads(metadata) == exported.metadata
    assert exported.metadata["classes"] == list(classifier.names)


@pytest.mark.parametrize("kind", KINDS)
def test_only_ops_of_pytorch(kind):
    program = made(kind)[1].program
    spaces = {node.target.namespace for node in program.graph.nodes if isinstance(node.target, torch._ops.OpOverload)}
    assert spaces == {"aten"}


def test_what_was_pruned_is_not_there():
    classifier, exported = made("pruned")
    one_shot, threshold = classifier.network.network, classifier.config.prune_testing
    shares = one_shot.shares(classifier.phi, classifier.config.t_min_test)
    alive = remaining(one_shot, shares, 0, threshold)
    graph = onnx_model(exported.program, ["probabilities"], {}).graph
    names = {name.rpartition(".")[0] for name in [tensor.name for tensor in graph.initializer]}
    dead = 0
    for c in range(one_shot.cells):
        cell, kind = one_shot.network.cell(c), one_shot.network.kind(c)
        for i, node in enumerate(cell.nodes):
            for k, (instance, lives) in enumerate(zip(node, alive[kind][i], strict=True)):
                stride = cell.stride(instance, c in one_shot.reductions)
                if PRIMITIVES[instance.primitive].convolutions(1, stride):
                    assert (f"cell{c}.node{i}.op{k}" in names) == lives
                    dead += not lives
    assert dead > 20
    assert set(exported.program.state_dict) <= {tensor.name for tensor in graph.initializer}, "every weight is read"


def test_images_as_floating_point():
    classifier, _ = made("block cell")
    images = pictures(3, classifier.recipe.size, 2)
    exported = export_classifier(classifier, "float")
    assert exported.metadata["inputs"]["images"]["dtype"] == "float32"
    found = exported.program.module()(images=images.float() / 255)
    torch.testing.assert_close(found, classifier.probabilities(images), rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="uint8 or float"):
        export_classifier(classifier, "int8")


def test_an_operation_that_has_no_onnx_form_is_told():
    """A primitive of one's own may use any operation of PyTorch."""

    class Strange(torch.nn.Module):
        def forward(self, images):
            return torch.special.i0(images)

    program = torch.export.export(Strange(), (torch.rand(2, 3),))
    with pytest.raises(InputError, match="cannot be written as ONNX: no ONNX form of .*i0.*; take --format torch"):
        Exported(program, {}).encode("onnx")
    assert Exported(program, {}).encode("torch")
