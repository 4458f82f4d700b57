"""A result as all that tell it see it."""

from autometa.report.view import View

SCORE = {"support_statistics": {"mean": 50.0, "ci95": 1.0}}
TRAINED = {"scores": SCORE, "parameters": 7, "macs": 8, "seconds": {"train": 1.0}, "protocol": {"tasks": 4}}
RIVAL = {"scores": SCORE, "filters": 3, "parameters": 5, "macs": 6, "seconds": {"train": 2.0, "test": 3.0}}


def test_a_network_alone():
    view = View({**TRAINED, "finite_tasks": 3})
    assert list(view.networks) == ["this network"] == list(view.sizes) and view.lost == 1
    assert view.table == [["normalised with statistics of", "this network"], ["support images alone", "50.00 ± 1.00"]]
    assert view.seconds == {"train": 1.0} and view.pruning_cost is None and list(view.modes) == ["support_statistics"]


def test_a_search_with_rivals():
    costs = {"transductive": {"mean": 1.0}, "support_statistics": {"mean": 2.0}, "support_plus_one": {"mean": None}}
    compare = {"untrained": {"scores": SCORE, "parameters": 9}, "four-layer": RIVAL}
    search = {"scores_before_pruning": SCORE, "pruning_cost": costs, "search_network": {"parameters": 90, "macs": 1}}
    view = View({**TRAINED, **search, "compare": compare, "precision": "bf16"})
    assert list(view.networks) == ["pruned cells", "before pruning", "untrained, pruned", "four-layer net"]
    assert list(view.sizes) == ["search network", "pruned, median over tasks", "four-layer net, 3 filters"]
    assert view.seconds == {"train": 1.0, "four-layer": 2.0, "test-four-layer": 3.0}
    assert (
        view.pruning_cost == {"mean": 2.0} and view.reduced_precision == "bf16" and view.rivals["four-layer"] is RIVAL
    )


def test_nothing_is_known_of_a_run_that_is_not_finished():
    view = View({})
    assert (view.sizes, view.seconds, view.lost, view.modes) == ({}, {}, 0, {}) and view.reduced_precision is None


def test_what_an_accuracy_is_to_be_read_with():
    protocol = {"split": "vinyals", "part": "test", "ways": 5, "shots": 1, "queries": 3, "tasks": 1200, "test_seed": 1}
    within = {"mean": 60.0, "low": 38.2, "high": 91.7}
    classes = {"classes": 1, **within, "turned": True, "modes": {"support_statistics": within}}
    learnt = {"chance": 20.0, "tasks": 9, "pixels": {"mean": 30.0, "ci95": None}, "verdict": "It beats nothing."}
    refused = {"min_confidence": 0.5, "1-shot": {"refused": {"unknown": 70.0, "right": 10.0}}}
    more = {"new_classes": classes, "baselines": learnt, "confidence": refused, "data_hash": "0123456789abcdef"}
    view = View({**TRAINED, **more, "accuracy": 50, "protocol": protocol, "finite_tasks": 1199, "precision": "tf32"})
    assert view.tasks == "1,200 new tasks of 5 classes, 1 support image and 3 query images per class"
    assert view.classes == "split vinyals, test classes" and view.over_tasks == "over tasks of the same 1 class"
    head, row = view.table
    assert head == ["normalised with statistics of", "this network", "other classes (95%)"]
    assert row == ["support images alone", "50.00 ± 1.00", "60.0 (38 to 92)"]
    other, without, verdict, unknown = view.sentences
    assert view.bounds == "38 to 92" and "about 60.0 %, 95% interval 38 to 92: only 1 class was tested" in other
    assert "chance 20.0 %; nearest class mean of pixels 30.00 %, on 9" in without and verdict == learnt["verdict"]
    assert "refuses, below 0.5" in unknown and "70 % of pictures of unknown classes" in unknown
    assert view.caveats[0].startswith("1 task left the finite numbers") and "tf32" in view.caveats[1]
    told = {"images (sha256)": "0123456789ab", "ways": 5, "test tasks": 1200, "BN mode": "support_statistics"}
    assert told.items() <= view.terms.items() and view.accuracy == 50.0


def test_groups_that_are_none_are_empty():
    view = View({"protocol": [], "scores": None, "new_classes": "few", "compare": 3, "accuracy": None})
    assert (view.protocol, view.score, view.rivals, view.sentences, view.accuracy) == ({}, {}, {}, [], None)
    assert set(view.terms.values()) == {None} and view.over_tasks == "over tasks"
