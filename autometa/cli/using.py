"""`eval`, `adapt` and `predict`: commands that use a run."""

from __future__ import annotations

from autometa import api
from autometa.algorithms.config import EvalConfig
from autometa.api.settings import field_types
from autometa.cli import show
from autometa.cli.options import Parser, common, print_json
from autometa.data.images import class_folders
from autometa.errors import InputError

EVAL_EXAMPLES = """  autometa eval --run runs/first --shots 5 --tasks 1000
  autometa eval --run runs/reptile --ways 20"""
ADAPT_EXAMPLES = """  autometa adapt --support photos --run runs/first
      photos/cat/1.png  photos/cat/2.png  photos/dog/1.png ...   one sub-folder per class, named as the class"""
PREDICT_EXAMPLES = """  autometa predict new.png other.png --run runs/first
  autometa predict folder/of/pictures"""


def eval(words: list[str], typed: list[str]) -> int:  # noqa: A001  the word of the command line
    """`autometa eval [--run RUN]`."""
    parser = Parser("eval", "Evaluate a run on unseen classes again, under other conditions.", EVAL_EXAMPLES)
    parser.add_argument("--run", default="latest", metavar="RUN", help="folder of the run (default: the last one)")
    parser.add_argument("--ways", type=int, metavar="N", help="classes of a task")
    meanings = {
        "tasks": "number of tasks",
        "shots": "support images per class",
        "queries": "query images per class",
        "steps": "steps of learning on the support images",
        "batch": "images of one such step",
        "batch_mode": "passes or replacement",
        "seed": "of the tasks",
        "part": "test or val classes",
        "max_slots": "tasks at once; fewer need less memory, with the same result",
    }
    names = [name for name in field_types(EvalConfig)]
    for name in names:
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, dest=f"test_{name}", metavar="X", help=meanings.get(name))
    common(parser)
    given = parser.parse_args(words)
    settings = {name: getattr(given, f"test_{name}") for name in names}
    settings = {name: value for name, value in settings.items() if value is not None}
    found = api.evaluate(
        given.run, ways=given.ways, settings=settings, quiet=given.quiet, device=given.device, command=tuple(typed)
    )
    print_json(found) if given.json else print("\n".join(show.evaluation(found)))
    return 0


def adapt(words: list[str], typed: list[str]) -> int:
    """`autometa adapt --support DIR`."""
    parser = Parser("adapt", "Teach a run's network new classes from a few pictures of each.", ADAPT_EXAMPLES)
    parser.add_argument("--support", metavar="DIR", help="folder with one sub-folder of 1 to 5 pictures per class")
    parser.add_argument("--run", default="latest", metavar="RUN", help="folder of the run (default: the last one)")
    parser.add_argument("--out", metavar="DIR", help="where to keep what was learned (default: RUN/adapted)")
    common(parser)
    given = parser.parse_args(words)
    if given.support is None:
        raise InputError("adapt needs --support DIR, a folder with one sub-folder of pictures per class")
    run = api.open_run(given.run)
    classifier = api.adapt(given.support, run=run, out=given.out, quiet=given.quiet, device=given.device)
    place = given.out or str(run.path / api.ADAPTED)
    counts = {name: len(files) for name, files in class_folders(given.support)}
    if given.json:
        print_json({"classes": list(classifier.names), "images": counts, "saved": place})
    else:
        print("\n".join(show.adapted(counts, place, given.out or str(run.path))))
    return 0


def predict(words: list[str], typed: list[str]) -> int:
    """`autometa predict IMAGE...`."""
    parser = Parser("predict", "Classify pictures with what `autometa adapt` learned.", PREDICT_EXAMPLES)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument(
        "--run", default="latest", metavar="RUN", help="a run that was adapted, or the folder given to adapt --out"
    )
    common(parser)
    given = parser.parse_args(words)
    found = api.predict(given.images, run=given.run, device=given.device)
    if given.json:
        keys = ("image", "class", "probability", "probabilities")
        print_json([dict(zip(keys, row, strict=True)) for row in found])
    else:
        print("\n".join(show.predictions(found)))
    return 0
