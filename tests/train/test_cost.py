"""The cost model: stages of a loop, linear fits, and a search space that shrinks."""

import json

import numpy as np
import pytest

from autometa.algorithms import metanas_steps
from autometa.algorithms.metanas import MetaNASConfig
from autometa.errors import InputError
from autometa.nas.relax.same_batch import SameBatch
from autometa.runs.folder import PACE
from autometa.train import cost
from autometa.train.config import DataConfig, InnerConfig, MetaConfig
from autometa.train.cost import CostModel, LoopCost, loop_cost
from autometa.train.pace import Pace
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer


def test_a_loop_costs_the_mean_of_what_its_schedule_has_left():
    loop = LoopCost((0.0, 0.25, 0.5), (8.0, 4.0, 1.0))
    assert [loop.at(over) for over in (0.0, 0.2, 0.25, 0.49, 0.5, 1.0)] == [8, 8, 4, 4, 1, 1]
    assert loop.mean() == 0.25 * 8 + 0.25 * 4 + 0.5 * 1
    assert loop.mean(0.25) == 2.0 and loop.mean(0.75) == loop.mean(1.0) == 1.0
    assert loop.mean() == pytest.approx(np.mean([loop.at(n / 1000) for n in range(1000)]))
    with pytest.raises(InputError):
        LoopCost((0.0, 0.5), (1.0,))


CONFIG = MetaNASConfig(
    channels=2,
    cells=1,
    reductions=(0,),
    nodes=1,
    data=DataConfig("strokes:6x6x12", 8),
    inner=InnerConfig(ways=3, shots=1, batch=3, batch_mode="replacement", steps=1, lr=5e-3, adam_state="carry"),
    meta=MetaConfig(iterations=10, batch=1, step_size=1.0),
    warmup=2,
    relaxation=SameBatch(shrink=(0.4, 0.7)),
)


@pytest.mark.parametrize("first, steps", [(1.0, [0, 0, 2, 4, 7]), (100.0, [0, 4, 7])])
def test_every_stage_is_measured_with_the_ops_that_it_has(monkeypatch, tmp_path, first, steps):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
    source = Source.open(CONFIG.data)
    network = CONFIG.build(source.image_shape)
    trainer = metanas_steps.trainer(network, source, CONFIG)
    seen, clock = [], [0.0]

    def step(trainer, i):
        trainer.reach(i)
        (ops, _), *_ = network.architecture(trainer.arena.theta)["normal"]
        live = int((ops > -100).sum(dim=-1).max())
        seen.append(i)
        clock[0] += first * live

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])
    found, many = loop_cost(trainer, CONFIG, cost.Measuring()), len(CONFIG.primitives)
    assert seen == steps and found.begins == CONFIG.stages == (0.0, 0.2, 0.4, 0.7)
    assert found.seconds == (first * many, first * many, first * round(many**0.5), first)


@pytest.mark.parametrize("seconds, calls", [(1e9, [1, 1, 4, 1, 4]), (22.0, [1, 1, 4]), (20.0, [1]), (0.0, [1])])
def test_a_slope_costs_no_more_than_there_is_time_for(monkeypatch, seconds, calls):
    made, clock = [], [0.0]

    def work(steps):
        made.append(steps)
        clock[0] += 3.0 + 2.0 * steps

    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(cost, "SHORT_SECONDS", 100.0)
    assert cost.slope(work, 1, 4, cost.Measuring(seconds), beside=1.5) == pytest.approx((2.0, 3.0)) and made == calls


def test_a_model_is_fitted_to_times_and_no_feature_saves_any():
    features = np.random.default_rng(0).uniform(1, 5, (30, 3))
    seconds = features @ np.array([[2.0, 0.1], [0.0, 0.3], [0.5, 0.0]])
    model = CostModel.fitted(seconds, features, {})
    assert model.iteration == pytest.approx((2.0, 0.0, 0.5), abs=1e-9) and model.error < 1e-9
    assert model.seconds(features[0], 10, 4) == pytest.approx(10 * seconds[0, 0] + 4 * seconds[0, 1])
    falling = CostModel.fitted(np.stack([1 / features[:, 0]] * 2, axis=1), features, {})
    assert min(falling.iteration) >= 0 and falling.timed == 30


class Folder:
    """As much of a run as a pace needs."""

    def __init__(self, path):
        self.path, self.checkpoints = path, path / "checkpoints"
        self.checkpoints.mkdir()


def test_a_pace_is_read_as_written_and_as_earlier_versions_wrote_it(tmp_path):
    folder, pace = Folder(tmp_path), Pace(90.0, LoopCost((0.0, 0.4), (1.0, 2.0)), 5.0, 0.5, stretch=True, warm=0.4)
    pace.write(folder)
    assert Pace.read(folder) == pace
    before = json.loads((tmp_path / PACE).read_text())
    del before["iteration"]
    (tmp_path / PACE).write_text(json.dumps({**before, "early": 1.0, "late": 2.0}))
    assert Pace.read(folder) == pace
    for bad in ({**before, "early": 1.0}, before, [], {**before, "early": 1.0, "late": "2"}):
        (tmp_path / PACE).write_text(json.dumps(bad))
        with pytest.raises(InputError, match="does not hold a run's pace"):
            Pace.read(folder)
