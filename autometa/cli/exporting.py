"""`export`: what was learned, as a program for elsewhere."""

from __future__ import annotations

from autometa import api
from autometa.cli.options import Parser, whole
from autometa.cli.output import print_json, put
from autometa.errors import InputError
from autometa.export.program import FORMATS, INPUTS

EXAMPLES = """  autometa export --run runs/first --out birds.onnx           the classes taught by autometa adapt
  autometa export --run runs/first --out birds.pt2            the same for torch.export.load
  autometa export --what adaptation --run runs/reptile --shots 1 --out learn.onnx
      support images, labels and query images in, predictions for the queries out"""


def export(words: list[str], typed: list[str]) -> int:
    """`autometa export --out FILE`."""
    parser = Parser("export", "Write what was learned as a program that runs without autometa.", EXAMPLES)
    parser.add_argument("--out", metavar="FILE", help="the file to write, .pt2 or .onnx")
    whose = "a run, or the folder given to adapt --out (default: what was taught here last)"
    parser.add_argument("--run", metavar="RUN", help=whose)
    parser.add_argument("--what", default="classifier", metavar="WHAT", help="classifier (default) or adaptation")
    parser.add_argument("--format", metavar="NAME", help=f"{' or '.join(FORMATS)} (default: by the file's name)")
    parser.add_argument("--ways", type=whole, metavar="N", help="of an adaptation: classes (default: the run's)")
    parser.add_argument("--shots", type=whole, metavar="N", help="of an adaptation: support images per class")
    parser.add_argument("--images", default=INPUTS[0], metavar="KIND", help="images go in as uint8 (default) or float")
    given = parser.parse(words, "json")
    if given.out is None:
        raise InputError("export needs --out FILE, named .pt2 (torch.export) or .onnx")
    how = {name: given[name] for name in ("out", "what", "format", "ways", "shots", "images")}
    found = api.export(given.run, **how)
    print_json(found) if given.json else put(_lines(found))
    return 0


def _lines(found: dict) -> list[str]:
    if found["what"] == "classifier":
        about = f"classifier of {len(found['classes'])} classes: {', '.join(found['classes'])}"
    else:
        images = f"{found['shots']} image{'s' * (found['shots'] != 1)}"
        about = f"adaptation in {found['steps']} steps to {found['ways']} classes from {images} each"
    rows = [f"{found['file']}  {found['bytes'] / 1e6:.2f} MB, {about}; from {found['source']}", ""]
    for kind in ("inputs", "outputs"):
        for name, value in found[kind].items():
            shape = ", ".join(map(str, value["shape"]))
            note = value.get("values") or value.get("order")
            rows.append(f"  {kind[:-1]:<6}  {name:<13}  {value['dtype']} [{shape}], {note}")
    return [*rows, "", f"Images: {found['image_recipe']['in_words']}."]
