"""`eval`, `adapt` and `predict`: commands that use a run."""

from __future__ import annotations

from autometa import api
from autometa.api.running import RunOptions
from autometa.api.settings import field_types
from autometa.api.teaching import teach_folder
from autometa.cli import seeds, show
from autometa.cli.options import COMPUTING, Parser
from autometa.cli.output import print_json, put
from autometa.errors import InputError
from autometa.runs.files import say, shown
from autometa.runs.folder import CONFIG
from autometa.train.config import EvalConfig

EVAL_EXAMPLES = """  autometa eval --run runs/first --shots 5 --tasks 1000
  autometa eval --run runs/reptile --ways 20 --test.seed 2"""
ADAPT_EXAMPLES = """  autometa adapt --support photos --run runs/first
      photos/cat/1.png  photos/cat/2.png  photos/dog/1.png ...   one sub-folder per class, named as the class
  autometa adapt --support drawings                     before any search: the Omniglot model that comes with autometa
  autometa adapt --support more_photos --add --run runs/first"""
PREDICT_EXAMPLES = """  autometa predict new.png other.png --run runs/first
  autometa predict folder/of/pictures                   exit code 2 where one cannot be read; the others are answered
  autometa predict new.png --min-confidence 0.6         answers "none of these" where it is less sure"""


MEANINGS = {
    "inner.ways": "classes of a task",
    "test.tasks": "number of tasks",
    "test.shots": "support images per class",
    "test.queries": "query images per class",
    "test.steps": "steps of learning on the support images",
    "test.batch": "images of one such step",
    "test.batch_mode": "passes or replacement",
    "test.seed": "of the tasks",
    "test.part": "test or val classes",
    "test.max_slots": "tasks at once; fewer need less memory, with the same result",
    "test.frozen": "true: once more with statistics of training tasks, as on a device",
}


def eval(words: list[str], typed: list[str]) -> int:  # noqa: A001  the word of the command line
    """`autometa eval [--run RUN]`."""
    parser = Parser("eval", "Evaluate a run on unseen classes again, under other conditions.", EVAL_EXAMPLES)
    parser.add_argument("--run", default="latest", metavar="RUN", help="folder of the run (default: the last one)")
    types = {"inner.ways": int, **{f"test.{name}": hint for name, hint in field_types(EvalConfig).items()}}
    parser.add_settings(types, MEANINGS)
    given, settings = parser.parse(words, *COMPUTING), parser.settings
    how = {"quiet": given.quiet, "device": given.device, "command": tuple(typed)}
    found = api.evaluate(given.run, ways=settings.pop("inner.ways", None), settings=settings, **how)
    print_json(found) if given.json else put(seeds.lines(found) if "seeds" in found else show.evaluation(found))
    return 0


def adapt(words: list[str], typed: list[str]) -> int:
    """`autometa adapt --support DIR`."""
    parser = Parser("adapt", "Teach a network new classes from a few pictures of each.", ADAPT_EXAMPLES)
    parser.add_argument("--support", metavar="DIR", help="folder with one sub-folder of 1 to 5 pictures per class")
    whose = "whose network learns: a run's (default: the last finished one's that fits, else that of autometa)"
    parser.add_argument("--run", metavar="RUN", help=whose)
    parser.add_argument("--add", action="store_true", help="teach these classes beside those taught before")
    parser.add_argument("--out", metavar="DIR", help="where to keep what was learned (default: RUN/adapted or adapted)")
    given = parser.parse(words, *COMPUTING)
    if given.support is None:
        raise InputError("adapt needs --support DIR, a folder with one sub-folder of pictures per class")
    options = RunOptions(given.quiet, given.device)
    lesson = teach_folder(given.support, run=given.run, out=given.out, add=given.add, options=options)
    classifier, place = lesson.classifier, lesson.place
    counts = dict(zip(classifier.names, classifier.lesson.labels.bincount().tolist(), strict=True))
    if given.json:
        answer = {"classes": list(classifier.names), "images": counts, "saved": given.out or str(place)}
        print_json({**answer, "model": lesson.model, "warnings": lesson.warnings})
    else:
        kept_in_run = given.out is None and place.name == api.ADAPTED and (place.parent / CONFIG).is_file()
        run = str(place.parent if kept_in_run else place)
        put(show.adapted(counts, lesson.model, lesson.warnings, given.out or str(place), run))
    return 0


def predict(words: list[str], typed: list[str]) -> int:
    """`autometa predict IMAGE...`."""
    parser = Parser("predict", "Classify pictures with what `autometa adapt` learned.", PREDICT_EXAMPLES)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="image files, or folders of them")
    taught = "a run that was adapted, or the folder given to adapt --out (default: what was taught last)"
    parser.add_argument("--run", metavar="RUN", help=taught)
    least = 'probability below which the answer is "none of these", such as 0.6; calibrated: as measured'
    parser.add_argument("--min-confidence", default="0", metavar="P", help=least)
    given = parser.parse(words, *COMPUTING)
    asked = {"run": given.run, "min_confidence": given.min_confidence, "device": given.device, "quiet": given.quiet}
    unread: list[str] = []
    found = api.predict(given.images, unread=unread.append, **asked)
    if given.json:
        keys = ("image", "class", "probability", "probabilities", "classifier")
        print_json([dict(zip(keys, (*row, shown(found.classifier)), strict=True)) for row in found])
    else:
        put(show.predictions(found))
    for sentence in unread:
        say(sentence)
    return InputError.exit_code if unread else 0
