"""A result as all that tell it see it."""

from autometa.report.view import View

SCORE = {"support_statistics": {"mean": 50.0, "ci95": 1.0}}
TRAINED = {"scores": SCORE, "parameters": 7, "macs": 8, "seconds": {"train": 1.0}, "protocol": {"tasks": 4}}
RIVAL = {"scores": SCORE, "filters": 3, "parameters": 5, "macs": 6, "seconds": {"train": 2.0, "test": 3.0}}


def test_a_network_alone():
    view = View({**TRAINED, "finite_tasks": 3})
    assert list(view.networks) == ["this network"] == list(view.sizes) and view.lost == 1
    assert view.seconds == {"train": 1.0} and view.pruning_cost is None and list(view.modes) == ["support_statistics"]


def test_a_search_with_rivals():
    costs = {"transductive": {"mean": 1.0}, "support_statistics": {"mean": 2.0}, "support_plus_one": {"mean": None}}
    compare = {"untrained": {"scores": SCORE, "parameters": 9}, "four-layer": RIVAL}
    search = {"scores_before_pruning": SCORE, "pruning_cost": costs, "search_network": {"parameters": 90, "macs": 1}}
    view = View({**TRAINED, **search, "compare": compare, "precision": "bf16"})
    assert list(view.networks) == ["pruned cells", "before pruning", "untrained, pruned", "four-layer net"]
    assert list(view.sizes) == ["search network", "pruned, median over tasks", "four-layer net, 3 filters"]
    assert view.seconds == {"train": 1.0, "four-layer": 2.0, "test-four-layer": 3.0}
    assert view.pruning_cost == {"mean": 2.0} and view.reduced_precision == "bf16" and view.four_layer is RIVAL


def test_nothing_is_known_of_a_run_that_is_not_finished():
    view = View({})
    assert (view.sizes, view.seconds, view.lost, view.modes) == ({}, {}, 0, {}) and view.reduced_precision is None
