"""`export`: what was learned, as a program for elsewhere."""

from __future__ import annotations

from autometa import api
from autometa.api.running import RunOptions
from autometa.cli.options import Parser, whole
from autometa.cli.output import print_json, put
from autometa.errors import InputError
from autometa.export.c.project import LEARN, STATISTICS, WEIGHTS
from autometa.export.program import FORMATS, INPUTS

EXAMPLES = """  autometa export --run runs/first --out birds.onnx           the classes taught by autometa adapt
  autometa export --run runs/first --out birds.pt2            the same for torch.export.load
  autometa export --what adaptation --run runs/reptile --shots 1 --out learn.onnx
      support images, labels and query images in, predictions for the queries out
  autometa export --to c --run runs/meters --learn prototypes --out meters/
      a network that is taught on a microcontroller, as C"""


def export(words: list[str], typed: list[str]) -> int:
    """`autometa export --out FILE`."""
    parser = Parser("export", "Write what was learned as a program that runs without autometa.", EXAMPLES)
    parser.add_argument("--out", metavar="FILE", help="the file to write, .pt2 or .onnx; of C a folder")
    whose = "a run, a model of the package, or the folder given to adapt --out (default: what was taught here last)"
    parser.add_argument("--run", "--model", metavar="RUN", help=whose)
    parser.add_argument("--what", default="classifier", metavar="WHAT", help="classifier (default) or adaptation")
    kinds = f"{', '.join(FORMATS)} (default: by the file's name) or c"
    parser.add_argument("--format", "--to", metavar="NAME", help=kinds)
    parser.add_argument("--ways", type=whole, metavar="N", help="of an adaptation: classes (default: the run's)")
    parser.add_argument("--shots", type=whole, metavar="N", help="of an adaptation: support images per class")
    parser.add_argument("--images", default=INPUTS[0], metavar="KIND", help="images go in as uint8 (default) or float")
    parser.add_argument("--weights", metavar="KIND", help=f"of C: {' or '.join(WEIGHTS)}")
    parser.add_argument("--learn", metavar="HOW", help=f"of C: {' or '.join(LEARN)} (default: as the network suits)")
    whose = f"of C that learns by all: {' or '.join(STATISTICS)} (default: batch)"
    parser.add_argument("--statistics", metavar="WHOSE", help=whose)
    given = parser.parse(words, "json", "quiet")
    if given.out is None:
        raise InputError("export needs --out FILE, named .pt2 (torch.export) or .onnx, or with --to c a folder")
    names = ("out", "what", "format", "ways", "shots", "images", "weights", "learn", "statistics")
    how = {name: given[name] for name in names}
    found = api.export(given.run, **how, notice=RunOptions(given.quiet).notice)
    print_json(found) if given.json else put(_lines(found))
    return 0


def _lines(found: dict) -> list[str]:
    if found["what"] == "device":
        return _of_c(found)
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


def _of_c(found: dict) -> list[str]:
    right = "accuracy not measured" if found["accuracy"] is None else f"{found['accuracy']:.1f}% right"
    return [
        f"{found['file']}  {len(found['files'])} files of C, {found['weights']}, learns by {found['learn']}, {right}; "
        f"from {found['source']}",
        "",
        f"  {found['features']} features, {found['macs']:,} multiply-accumulates a picture; README.md tells RAM and "
        "flash",
        f"  self-test: cd {found['file']} && cc -std=c99 -O2 *.c -lm && ./a.out",
    ]
