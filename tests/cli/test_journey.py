"""What a person does: search, look, adapt, predict, evaluate again, train the cell that was found."""

import json
from pathlib import Path

import autometa
from autometa.runs import RunFolder
from autometa.train.run_config import config_of
from tests.cli import driving
from tests.cli.driving import call


def test_a_search_says_what_was_found_how_accurate_where_and_what_next(searched):
    run, answer = searched
    assert "normal cell" in answer.out and "reduction cell" in answer.out
    for row in ("all queries of the task", "support images + one query", "support images alone"):
        assert sum(row in line and line.count("±") == 3 for line in answer.out.splitlines()) == 1
    assert "2 new tasks of 2 classes, 1 support image and 2 query images per class" in answer.out
    assert "before pruning" in answer.out and "untrained, pruned" in answer.out
    assert "parameters" in answer.out and "MACs" in answer.out
    assert f"autometa adapt --support FOLDER --run {run}" in answer.out
    assert str(run) in answer.out
    assert "Ctrl-C" in answer.err and "Traceback" not in answer.err
    lines = [line for line in answer.out.splitlines() if line.count("±") == 3 and "pruning" not in line]
    lines = [line for line in lines if "chance" not in line]
    assert len({len(line) for line in lines}) == 1, "columns line up"


def test_search_adapt_predict(searched, tmp_path):
    run, _ = searched
    support = driving.class_folders(tmp_path / "photos")
    taught = call("adapt", "--support", support, "--run", run, "--out", tmp_path / "taught")
    assert taught.code == 0, taught.err
    assert "Learned 3 classes" in taught.out
    assert "Next   autometa predict IMAGE... --run taught\n" in taught.out, "a path from where one stands"
    assert "expect lower accuracy" in taught.err, "three classes for a network of two ways"

    image = support / "bar" / "0.png"
    told = call("predict", image, "--run", "taught")
    assert told.code == 0 and "%" in told.out and str(image) in told.out
    found = call("predict", image, support / "blob", "--run", "taught", "--json").json
    assert [row["image"] for row in found] == [str(image), str(support / "blob/0.png"), str(support / "blob/1.png")]
    for row in found:
        assert set(row["probabilities"]) == {"bar", "blob", "cross"}
        assert abs(sum(row["probabilities"].values()) - 1) < 1e-5
        assert row["class"] == max(row["probabilities"], key=row["probabilities"].get)


def test_adapt_keeps_what_it_learned_in_the_run(trained, tmp_path):
    run, _ = trained
    support = driving.class_folders(tmp_path / "photos", ("bar", "blob"), images=1)
    found = call("adapt", "--support", support, "--run", run, "--json")
    assert found.code == 0, found.err
    said = {"classes": ["bar", "blob"], "images": {"bar": 1, "blob": 1}, "saved": str(run / "adapted")}
    assert found.json == {**said, "model": str(run), "warnings": []}
    assert call("predict", support / "bar/0.png", "--run", run).code == 0


def test_train_tells_its_result_as_json(trained):
    run, answer = trained
    found = answer.json
    assert found["kind"] == "train" and found["run"] == str(run)
    assert found["iterations"] == {"done": 3, "planned": 3}
    assert set(found["scores"]) == {"transductive", "support_plus_one", "support_statistics"}
    assert found["scores"]["transductive"]["tasks"] == 2
    assert json.loads((run / "result.json").read_text())["scores"] == found["scores"]


def test_train_the_cell_that_a_search_found(searched, tmp_path):
    run, _ = searched
    answer = call("train", run, "--meta.iterations", 2, "--warmup", 0)
    assert answer.code == 2 and "warmup" in answer.err, "a setting of searches only"
    answer = call("train", run, "--meta.iterations", 2, "--out", "cell", "--json", "-q")
    assert answer.code == 0 and answer.err == "", answer.err
    config = config_of(RunFolder.open("cell"))
    assert (config.filters, config.cells, config.data.name) == (2, 1, "strokes:6x6x6")
    own = json.loads((tmp_path / "cell/genotypes/network.json").read_text())
    assert own == json.loads((run / "genotypes/most_frequent.json").read_text())


def test_eval_again_with_other_settings(searched, trained):
    for run in (searched[0], trained[0]):
        before = (run / "result.json").read_bytes()
        answer = call("eval", "--run", run, "--tasks", 3, "--shots", 2, "--queries", 1, "--json")
        assert answer.code == 0, answer.err
        found = answer.json
        assert (found["protocol"]["tasks"], found["protocol"]["shots"], found["protocol"]["queries"]) == (3, 2, 1)
        assert json.loads(open(found["file"]).read())["scores"] == found["scores"]
        assert (run / "result.json").read_bytes() == before
    told = call("eval", "--run", trained[0], "--ways", 3)
    assert told.code == 0 and "tasks of 3 classes" in told.out


def test_eval_takes_the_names_that_settings_have(trained):
    words = ["--tasks", "3", "--batch-mode", "passes", "--ways", "2", "--json", "-q"]
    short = call("eval", "--run", trained[0], "--shots", "2", *words)
    full = call("eval", "--run", trained[0], "--test.shots", "2", *words)
    names = ["--test.tasks", "3", "--test.batch_mode=passes", "--inner.ways", "2", "--json", "-q"]
    named = call("eval", "--run", trained[0], "--test.shots=2", *names)
    assert short.json["scores"] == full.json["scores"] == named.json["scores"], full.err + named.err
    assert short.json["protocol"] == named.json["protocol"] and named.json["protocol"]["shots"] == 2


def test_frozen_statistics_stand_beside_the_three_modes_where_they_are_asked_for(searched, trained):
    for run in (searched[0], trained[0]):
        words = ("eval", "--run", run, "--tasks", 3, "--queries", 1)
        three = call(*words, "--json").json["scores"]
        four = call(*words, "--frozen", "true", "--json").json
        assert list(four["scores"])[:3] == list(three) and list(four["scores"])[3:] == ["frozen_statistics"]
        assert all(four["scores"][mode] == three[mode] for mode in three)
        assert "frozen_statistics" in four["new_classes"]["modes"] and four["scores"]["frozen_statistics"]["tasks"] == 3
    told = call(*words, "--frozen", "true").out
    assert "training images, frozen" in told and "a device that sees one picture at a time" in told
    answer = call("train", "reptile-omniglot", *driving.TRAIN, "--test.frozen", "true", "--out", "frozen", "-q")
    assert answer.code == 0, answer.err
    card = Path("frozen/MODEL_CARD.md").read_text()
    assert card.count("| training images, frozen | ") == 1 and "as on a device" in card
    before = json.loads((trained[0] / "result.json").read_text())
    after = json.loads(Path("frozen/result.json").read_text())
    assert {mode: after["scores"][mode] for mode in before["scores"]} == before["scores"]
    assert "four modes of batch normalisation" in page("frozen")


def page(run):
    """The report of a run."""
    assert call("report", run).code == 0
    return Path(f"{run}/report.html").read_text()


def test_a_genotype_from_anywhere_trains_with_settings_that_suit_it(searched, tmp_path):
    run, _ = searched
    cell = tmp_path / "cell.json"
    cell.write_bytes((run / "genotypes/most_frequent.json").read_bytes())
    options = ["--meta.iterations", "1", "--test.tasks", "2", "--inner.steps", "1", "--out", "own", "--json"]
    answer = call("train", cell, *options)
    assert answer.code == 0, answer.err
    assert "cell.json comes without settings; it gets those of a search with the preset quick on strokes" in answer.err
    config = config_of(RunFolder.open("own"))
    assert (config.filters, config.cells, config.data.name, config.meta.iterations) == (8, 2, "strokes", 1)
    photos = driving.class_folders(tmp_path / "photos", "abcdefgh", 4)
    found = call("train", cell, "--data", photos, "--print-config").out
    assert "variant: ink" in found and "rotations: 4" in found and "ways: 5" in found
    known = call("train", run / "genotypes/most_frequent.json", "--print-config").out
    assert "name: strokes:6x6x6" in known, "a run's own genotype keeps the run's settings"


def test_eval_with_the_settings_of_the_run_gives_its_result(trained):
    run, answer = trained
    assert call("eval", "--run", run, "--json").json["scores"] == answer.json["scores"]


def test_runs_list(searched, tmp_path):
    run, answer = searched
    told = call("runs", "list", run.parent)
    assert told.code == 0
    row = next(line for line in told.out.splitlines() if line.startswith(str(run)))
    assert "finished" in row and "search-quick" in row and "%" in row
    assert call("runs", "list", run.parent, "--json").json[0]["status"] == "finished"
    assert "no runs in runs" in call("runs", "list").out


def test_a_run_without_out_gets_a_folder_and_is_the_latest(tmp_path):
    answer = call("train", "reptile-omniglot", *driving.TRAIN, "--seed", 7, "-q")
    assert answer.code == 0, answer.err
    assert [path.name[15:] for path in (tmp_path / "runs").iterdir() if path.name != "latest"] == [
        "-train-reptile-omniglot"
    ]
    assert config_of(RunFolder.open("latest")).seed == 7
    assert call("train", "--resume", "-q").out == answer.out, "a finished run tells its result again"


def test_the_same_words_in_python(searched, tmp_path):
    run, _ = searched
    support = driving.class_folders(tmp_path / "photos", ("bar", "blob"))
    classifier = autometa.adapt(support, run=run, out=tmp_path / "taught", quiet=True)
    assert list(classifier.names) == ["bar", "blob"]
    (path, name, probability, every), *_ = autometa.predict(support / "bar", run=tmp_path / "taught")
    assert path == support / "bar/0.png" and every[name] == probability
    assert [row.name for row in autometa.list_runs(run.parent)] == ["run"]
    settings = dict(zip((word[2:] for word in driving.TRAIN[::2]), driving.TRAIN[1::2], strict=True))
    settings["data.name"] = settings.pop("data")
    found = autometa.train("reptile-omniglot", settings={**settings, "seed": 3}, out="python", quiet=True)
    assert found["protocol"]["seed"] == 3
    assert autometa.evaluate("python", settings={"tasks": 1}, quiet=True)["protocol"]["tasks"] == 1
