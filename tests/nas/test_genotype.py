"""Genotypes: JSON there and back, and every way to be wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.nas.spaces.genotype import CellGenotype, Genotype, most_frequent
from autometa.ops import PRIMITIVES
from tests.nas.networks import GENOTYPE, discrete


@st.composite
def cells(draw):
    nodes = []
    for i in range(draw(st.integers(1, 4))):
        pair = st.tuples(st.sampled_from(sorted(PRIMITIVES)), st.integers(0, i + 1))
        nodes.append(tuple(draw(st.lists(pair, min_size=1, max_size=3))))
    states = st.lists(st.integers(2, len(nodes) + 1), min_size=1, unique=True)
    return CellGenotype(tuple(nodes), tuple(draw(states)))


@given(cells(), cells())
@settings(max_examples=50, deadline=None)
def test_json_round_trip(normal, reduction):
    genotype = Genotype(normal, reduction)
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype


@given(cells(), cells())
@settings(max_examples=8, deadline=None)
def test_every_valid_genotype_makes_a_network(normal, reduction):
    import torch

    network = discrete(genotype=Genotype(normal, reduction), cells=2)
    logits = network.logits(network.initial(0)[None], torch.randn(1, 3, 1, 10, 9))
    assert logits.shape == (1, 3, 4) and bool(torch.isfinite(logits).all())


WRONG_CELLS = {
    "at least one node": ((), (2,)),
    "node 1 has no input": (((("conv_3x3", 0),), ()), (2,)),
    "unknown primitive 'conv_9x9'": (((("conv_9x9", 0),),), (2,)),
    "reads state 2, but only 0 to 1": (((("conv_3x3", 2),),), (2,)),
    "reads state -1": (((("conv_3x3", -1),),), (2,)),
    r"concat \[\]": (((("conv_3x3", 0),),), ()),
    r"concat \[1\]": (((("conv_3x3", 0),),), (1,)),
    r"concat \[3\]": (((("conv_3x3", 0),),), (3,)),
    r"concat \[2, 2\]": (((("conv_3x3", 0),),), (2, 2)),
}


@pytest.mark.parametrize("message", WRONG_CELLS)
def test_invalid_cells(message):
    with pytest.raises(ValueError, match=message):
        CellGenotype(*WRONG_CELLS[message])


def changed(path, value):
    """The JSON of a good genotype with one place changed; None removes the key."""
    document = json.loads(json.dumps(GENOTYPE.to_json()))
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


WRONG_DOCUMENTS = {
    "a list": ([], "no genotype file"),
    "text": ("genotype", "no genotype file"),
    "no format": (changed(["format"], None), "no genotype file"),
    "another format": (changed(["format"], "darts"), "no genotype file"),
    "no version": (changed(["version"], None), "version None is not known"),
    "a later version": (changed(["version"], 99), "version 99 is not known"),
    "no normal cell": (changed(["normal"], None), "'normal' must hold exactly"),
    "a cell that is a list": (changed(["reduction"], []), "'reduction' must hold exactly"),
    "no concat": (changed(["normal", "concat"], None), "'normal' must hold exactly"),
    "an extra key": (changed(["normal", "weights"], [1]), "'normal' must hold exactly"),
    "nodes not a list": (changed(["normal", "nodes"], 5), "nodes are lists of"),
    "a pair of three": (changed(["normal", "nodes", 0, 0], ["conv_3x3", 0, 1]), "nodes are lists of"),
    "a state that is text": (changed(["normal", "nodes", 0, 0], ["conv_3x3", "0"]), "nodes are lists of"),
    "a state that is a fraction": (changed(["normal", "nodes", 0, 0], ["conv_3x3", 0.0]), "nodes are lists of"),
    "a state that is true": (changed(["normal", "nodes", 0, 0], ["conv_3x3", True]), "nodes are lists of"),
    "a name that is a number": (changed(["normal", "nodes", 0, 0], [3, 0]), "nodes are lists of"),
    "concat of text": (changed(["normal", "concat"], ["2"]), "nodes are lists of"),
    "an unknown primitive": (changed(["reduction", "nodes", 0, 0, 0], "conv_2x2"), "reduction cell: node 0 names"),
    "a state too high": (changed(["reduction", "nodes", 1, 0, 1], 9), "reduction cell: node 1 reads state 9"),
    "no nodes": (changed(["normal", "nodes"], []), "normal cell: a cell needs"),
}


@pytest.mark.parametrize("what", WRONG_DOCUMENTS)
def test_invalid_documents(what):
    document, message = WRONG_DOCUMENTS[what]
    with pytest.raises(ValueError, match=message):
        Genotype.from_json(document)


def test_files(tmp_path):
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(GENOTYPE.to_json()), encoding="utf-8")
    assert Genotype.load(path) == GENOTYPE
    with pytest.raises(ValueError, match="none.json cannot be read: No such file"):
        Genotype.load(tmp_path / "none.json")
    for text in ("{", "[]", '{"format": "autometa-genotype"}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="genotype.json: "):
            Genotype.load(path)


def test_most_frequent_counts_each_kind_by_itself():
    a, b = GENOTYPE.normal, GENOTYPE.reduction
    found = [Genotype(a, b), Genotype(a, a), Genotype(b, a)]
    assert most_frequent(found) == (Genotype(a, a), 2, 2)
    assert most_frequent(found[:1]) == (found[0], 1, 1)
    with pytest.raises(ValueError, match="no genotypes"):
        most_frequent([])


@given(st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_ties_do_not_depend_on_the_order(order):
    cell = [CellGenotype(((("conv_3x3", 0), (name, 1)),), (2,)) for name in ("none", "sep_conv_3x3")]
    found = [Genotype(cell[k % 2], cell[k // 2]) for k in range(4)]
    winner = most_frequent([found[k] for k in order])
    assert winner == (Genotype(cell[0], cell[0]), 2, 2)


def test_text_form_is_readable():
    assert str(GENOTYPE.reduction) == "skip_connect(0) + conv_3x3(1); dil_conv_3x3(1) + skip_connect(2)"
