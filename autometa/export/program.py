"""Trace a module into a program, say in its metadata what goes in and comes out, and write it as one file."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from autometa._version import __version__
from autometa.brief import brief
from autometa.data import Recipe
from autometa.data.images import FILLED
from autometa.errors import InputError
from autometa.export.adaptation import Adaptation
from autometa.export.adapted import Adapted
from autometa.export.onnx_graph import onnx_model
from autometa.models.classifier import Classifier
from autometa.models.model import Model
from autometa.runs.files import disk_errors, shown, write_bytes

FORMATS = {"torch": ".pt2", "onnx": ".onnx"}
INPUTS = ("uint8", "float")
LEAST_TORCH = (2, 13)
METADATA = "autometa.json"
"""The extra file of a PyTorch program with the metadata; of an ONNX model they are the property `autometa`."""
OUTPUT = "probabilities"
TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn")
"""Where an op came from in this package's files: most of what a PyTorch program's file would otherwise hold."""
INK = {
    "as-is": "",
    "inverted": "; then 255 - value, so that dark ink is 255",
    "auto": "; ink 255 on 0, whether darker or lighter than its paper, contrast and light evened out as by "
    "autometa.data.images.convert (of black on white: 255 - value)",
}
"""What a recipe's polarity means for one who has only the program."""


@brief
@dataclass(frozen=True)
class Exported:
    """A program with its metadata, which are plain JSON."""

    program: torch.export.ExportedProgram
    metadata: dict[str, Any]

    def encode(self, format: str) -> bytes:
        """The content of a file in a format of `FORMATS`.

        Raises `InputError` where a package for it is missing, or an operation (of a primitive of one's own) has no form
        there.
        """
        text = json.dumps(self.metadata, ensure_ascii=False)
        if format == "onnx":
            try:
                return onnx_model(self.program, [OUTPUT], {"autometa": text}).SerializeToString()
            except NotImplementedError as error:
                raise InputError(f"this network cannot be written as ONNX: {error}; take --format torch") from error
        held = io.BytesIO()
        torch.export.save(self.program, held, extra_files={METADATA: text})
        return held.getvalue()

    def save(self, path: str | Path, format: str) -> int:
        """Write the file whole or not at all; returns its size in bytes."""
        path, data = Path(path), self.encode(format)
        with disk_errors(f"save {shown(path)}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        return len(data)


def export_classifier(classifier: Classifier, images: str = "uint8") -> Exported:
    """images `[n, C, H, W]`, any n -> probabilities `[n, classes]`; images: of `INPUTS`."""
    recipe = classifier.recipe
    program = _traced(Adapted(classifier), {"images": _images(2, recipe, images)}, "images")
    about = {
        "what": "classifier",
        "classes": list(classifier.names),
        "inputs": {"images": _described(recipe, images, "n")},
        "outputs": {OUTPUT: {"dtype": "float32", "shape": ["n", len(classifier.names)], "order": "as in classes"}},
    }
    return Exported(program, _metadata(about, recipe))


def export_adaptation(model: Model, shots: int, images: str = "uint8") -> Exported:
    """support `[M, C, H, W]`, labels int64 `[M]`, queries `[n, C, H, W]`, any n -> probabilities `[n, ways]`, for M =
    ways * shots.  Raises `InputError` for a search network."""
    if shots < 1:
        raise InputError(f"the support set needs at least one image of each class, not {shots}")
    _require_scan()
    module, recipe = Adaptation(model, shots), model.recipe
    ways, count = module.ways, module.ways * shots
    support = _images(count, recipe, images)
    labels = torch.arange(ways).repeat_interleave(shots)
    given = {"support": support, "labels": labels, "queries": _images(2, recipe, images)}
    about = {
        "what": "adaptation",
        "ways": ways,
        "shots": shots,
        "steps": len(module.picks),
        "batch": module.picks.shape[1],
        "inputs": {
            "support": _described(recipe, images, count),
            "labels": {
                "dtype": "int64",
                "shape": [count],
                "values": f"0 to {ways - 1}, each as often as shots says, any order",
            },
            "queries": _described(recipe, images, "n"),
        },
        "outputs": {OUTPUT: {"dtype": "float32", "shape": ["n", ways], "order": "of the labels"}},
    }
    return Exported(_traced(module, given, "queries"), _metadata(about, recipe))


def _require_scan() -> None:
    """A loop with tensors inside is exported by torch's `scan`, which torch 2.6 refuses; 2.13 is what was tried."""
    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < LEAST_TORCH:
        least = ".".join(map(str, LEAST_TORCH))
        raise InputError(
            f"exporting the adaptation needs torch {least} or later, here is {torch.__version__}; update torch, "
            "or export the adapted classifier (--what classifier)"
        )


def _images(count: int, recipe: Recipe, kind: str) -> Tensor:
    if kind not in INPUTS:
        raise InputError(f"images go in as {' or '.join(INPUTS)}, not {kind!r}")
    return torch.zeros(count, recipe.channels, recipe.size, recipe.size, dtype=getattr(torch, kind))


def _traced(module: nn.Module, given: dict[str, Tensor], varying: str) -> torch.export.ExportedProgram:
    """The program of a module, with any number of images in its input `varying`."""
    shapes = {name: {0: torch.export.Dim("n", min=1)} if name == varying else None for name in given}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of PyTorch about itself
        program = torch.export.export(module.eval(), (), given, dynamic_shapes=shapes, strict=False)
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, GraphModule) else ():
            for key in TRACES:
                node.meta.pop(key, None)
    return program


def _described(recipe: Recipe, kind: str, count: int | str) -> dict[str, Any]:
    shape = [count, recipe.channels, recipe.size, recipe.size]
    if kind == "uint8":
        return {"dtype": "uint8", "shape": shape, "values": "0 to 255"}
    return {"dtype": "float32", "shape": shape, "values": "0 to 1: those of 0 to 255 divided by 255"}


SQUARES = {
    "crop": "centre-cropped to a square",
    "stretch": "stretched to a square",
    "ink": f"a square around the ink, whose longer side is {FILLED:.0%} of it",
}
"""How images of each fit become squares."""


def _metadata(about: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    colour = "grey (Pillow's mode L)" if recipe.channels == 1 else "RGB"
    ink = f", values 0 to 255{INK[recipe.polarity]}"
    how = f"{colour}, {SQUARES[recipe.fit]}, resized to {recipe.size} x {recipe.size} with Pillow's filter "
    return {
        **about,
        "image_recipe": {**recipe.to_dict(), "in_words": f"{how}{recipe.filter.upper()}{ink}"},
        "normalisation": "by the statistics of the support set: no answer depends on the other images",
        "made_by": f"autometa {__version__}",
    }
