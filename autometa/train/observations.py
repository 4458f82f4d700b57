"""What a run observes beside its scores: the architecture over meta-training, and what meta-testing saw.

observations.json is made of the tensors that evaluation keeps per task and of the tasks' numbers alone, so a run that
was cut off writes the same one, but for the memory that its processes took.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from autometa.data import Episodes
from autometa.nas.networks.cell_network import KINDS
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.one_shot.traces import edges, entropy, joined
from autometa.runs.environment import peak_memory
from autometa.runs.folder import RunFolder
from autometa.runs.metrics import MetricsWriter
from autometa.train.config import ArchitectureConfig, EvalConfig
from autometa.train.records import read_series
from autometa.train.tasks import Source, chunks

VERSION = 1
MODE = "support_statistics"
SERIES, SERIES_LINES = "architecture", 200
CONFUSIONS, EXAMPLES, EXAMPLE_QUERIES, EXAMPLE_SHOTS = 20, 3, 10, 5
LEAST = 20
"""Queries of a class from which on its confusions are told."""
REDRAWN = 1000
"""Tasks drawn again at once, to see which classes met in them."""
DIGITS = 5
"""Decimals of shares: more than a drawing shows, and half the bytes."""


class ArchitectureSeries:
    """metrics-architecture.jsonl: the meta-learned architecture's shares at t_max, at most about `SERIES_LINES` times.

    `tell` after every meta-iteration in order; where training ends early `finish` adds the last one. `state` and
    `restore`: of a checkpoint, to which the file is cut back.
    """

    def __init__(self, folder: RunFolder, network: OneShotNetwork, t_max: float, iterations: int) -> None:
        self.path, self._network, self._t_max = folder.phase_metrics(SERIES), network, t_max
        self._every, self._end = max(1, -(-iterations // (SERIES_LINES - 1))), iterations - 1
        self._writer: MetricsWriter | None = None
        self._last: tuple[int, Tensor] | None = None

    def tell(self, i: int, architecture: Tensor) -> dict | None:
        """The outcome of iteration i: the line that was written, None where none was due."""
        if i % self._every == 0 or i == self._end:
            self._last = None
            return self._write(i, architecture)
        self._last = (i, architecture)
        return None

    def replan(self, iterations: int) -> None:
        """Another number of meta-iterations from now on; lines stay as far apart."""
        self._end = iterations - 1

    def finish(self) -> dict | None:
        """The line of the last iteration told, where it has none yet."""
        last, self._last = self._last, None
        return None if last is None else self._write(*last)

    def state(self) -> dict:
        return {SERIES: self._open().sync()}

    def restore(self, state: Mapping) -> None:
        self._writer = MetricsWriter(self.path, state.get(SERIES, 0))

    def lines(self) -> list[dict]:
        """What is written so far."""
        return read_series(self.path) if self.path.exists() else []

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> MetricsWriter:
        if self._writer is None:
            self._writer = MetricsWriter(self.path, 0)
        return self._writer

    def _write(self, i: int, architecture: Tensor) -> dict:
        line = described(self._network, architecture, self._t_max)
        self._open().log(i, **line)
        return {"step": i, **line}


def described(network: OneShotNetwork, architecture: Tensor, t: float) -> dict:
    """Of an architecture `[A]` at temperature t, by kind: op shares per edge, pair shares per node, entropy."""
    block = architecture[None].to(torch.float64)
    found: dict[str, dict[str, Any]] = {"ops": {}, "pairs": {}, "entropy": {}}
    for kind, shares in network.shares(block, t, block).items():
        ops, pairs = joined(shares)
        found["ops"][kind] = _rounded(ops[0])
        found["pairs"][kind] = _by_node(network, pairs[0])
        found["entropy"][kind] = round(float(entropy(ops)[0]), DIGITS)
    return found


def observations(
    source: Source,
    ways: int,
    test: EvalConfig,
    found: Mapping[str, Tensor],
    network: OneShotNetwork | None = None,
    config: ArchitectureConfig | None = None,
) -> dict:
    """What observations.json holds: `found` is what evaluation kept per task `[tasks, ...]`; network and config: of a
    MetaNAS search. What evaluation did not keep is left out."""
    made: dict = {"version": VERSION, "memory": _memory(source.device)}
    made["counts"] = {"tasks": test.tasks, "steps": test.steps}
    if network is not None and config is not None and "trace.alive" in found:
        made["counts"]["weight_steps"] = config.test_weight_steps
        made |= _architecture(network, config, found)
    if "predicted" in found:
        episodes = source.testing(ways, test)
        asked = queries_of_classes(episodes, len(found["predicted"]))
        enough = {"least": LEAST, "classes": int((asked >= LEAST).sum())}
        made["confusion"] = {"mode": MODE, "pairs": confusions(episodes, found["predicted"]), **enough}
        made["examples"] = examples(episodes, found)
    return made


def _architecture(network: OneShotNetwork, config: ArchitectureConfig, found: Mapping[str, Tensor]) -> dict:
    heat = config.temperatures()
    kept, sharp, ops, pairs = (
        found[f"trace.{name}"].to(torch.float64).mean(dim=0) for name in ("alive", "entropy", "ops", "pairs")
    )
    return {
        "primitives": list(network.primitives),
        "edges": {kind: edges(network) for kind in KINDS},
        "pruning": {
            "step": list(range(len(heat))),
            "temperature": [round(t, DIGITS) for t in heat],
            "alive": {kind: _rounded(kept[:, k]) for k, kind in enumerate(KINDS)},
            "entropy": {kind: _rounded(sharp[:, k]) for k, kind in enumerate(KINDS)},
        },
        "weights": {
            **{kind: _rounded(ops[k]) for k, kind in enumerate(KINDS)},
            "pairs": {kind: _by_node(network, pairs[k]) for k, kind in enumerate(KINDS)},
        },
    }


def queries_of_classes(episodes: Episodes, tasks: int) -> np.ndarray:
    """How often the first tasks asked about each virtual class, int64 `[classes * rotations]`."""
    chosen = [episodes.tasks(torch.arange(*part, device="cpu")).chosen.cpu().numpy() for part in chunks(tasks, REDRAWN)]
    size = len(episodes.classes) * episodes.spec.rotations
    return episodes.spec.queries * np.bincount(np.concatenate(chosen).ravel(), minlength=size)


def confusions(episodes: Episodes, predicted: Tensor) -> list[dict]:
    """The pairs of classes most often taken for one another, worst rate first: answers int `[tasks, ways * queries]`,
    class by class. `of` counts the queries of `true` in tasks where `predicted` was among the classes. A class that was
    asked about fewer than LEAST times says nothing."""
    spec, names = episodes.spec, class_names(episodes)
    wrong, met = [], []
    for start, stop in chunks(len(predicted), REDRAWN):
        classes = episodes.tasks(torch.arange(start, stop, device="cpu")).chosen.cpu().numpy()
        said = predicted[start:stop].numpy().astype(np.int64)
        true = np.repeat(np.arange(spec.ways), spec.queries)[None].repeat(len(said), axis=0)
        task, q = np.nonzero((said != true) & (said >= 0))
        wrong.append(classes[task, true[task, q]] * len(names) + classes[task, said[task, q]])
        met.append((classes[:, :, None] * len(names) + classes[:, None, :]).reshape(-1))
    pairs, counts = np.unique(np.concatenate(wrong), return_counts=True)
    enough = queries_of_classes(episodes, len(predicted)) >= LEAST
    pairs, counts = (found[enough[pairs // len(names)]] for found in (pairs, counts))
    every, together = np.unique(np.concatenate(met), return_counts=True)
    of = together[np.searchsorted(every, pairs)] * spec.queries
    order = np.lexsort((pairs, -counts, -counts / of))[:CONFUSIONS]
    return [
        {
            "true": names[pairs[k] // len(names)],
            "predicted": names[pairs[k] % len(names)],
            "count": int(counts[k]),
            "of": int(of[k]),
        }
        for k in order
    ]


def class_names(episodes: Episodes) -> list[str]:
    """Names of the virtual classes: a class turned counter-clockwise is a class of its own."""
    plain = [episodes.store.class_names[c] for c in episodes.classes]
    turned = [[f"{name}, turned {90 * turn}°" for name in plain] for turn in range(1, episodes.spec.rotations)]
    return plain + [name for names in turned for name in names]


def examples(episodes: Episodes, found: Mapping[str, Tensor]) -> list[dict]:
    """Up to `EXAMPLES` tasks that stayed finite: the worst one, the median, the best; ties go to the lower number."""
    labels = torch.arange(episodes.spec.ways, device="cpu").repeat_interleave(episodes.spec.queries)
    right, finite = (found["predicted"] == labels).sum(dim=1), found["finite"].tolist()
    ranked = [task for task in right.argsort(stable=True).tolist() if finite[task]]
    picks = [ranked[place] for place in (0, len(ranked) // 2, len(ranked) - 1)] if ranked else []
    different = list(dict.fromkeys(picks))[:EXAMPLES]
    return [_example(episodes, task, found["predicted"][task], found["probability"][task]) for task in different]


def _example(episodes: Episodes, task: int, predicted: Tensor, probability: Tensor) -> dict:
    """Wrong answers first, the surest ones before the others; of the right ones those of every class in turn."""
    drawn, spec, names = episodes.tasks([task]), episodes.spec, class_names(episodes)
    support, queries = (pictures(images[0]) for images, _ in (episodes.support(drawn), episodes.queries(drawn)))
    said, sure = predicted.tolist(), probability.tolist()

    def place(q: int) -> tuple:
        true = q // spec.queries
        return (0, -sure[q], q) if said[q] != true else (1, q % spec.queries, true)

    shown = sorted((q for q in range(len(said)) if said[q] >= 0), key=place)[:EXAMPLE_QUERIES]
    return {
        "task": task,
        "classes": [names[v] for v in drawn.chosen[0].tolist()],
        "support": [support[k * spec.shots : (k + 1) * spec.shots][:EXAMPLE_SHOTS] for k in range(spec.ways)],
        "queries": [
            {
                "image": queries[q],
                "true": q // spec.queries,
                "predicted": said[q],
                "probability": round(sure[q], DIGITS),
            }
            for q in shown
        ],
    }


def pictures(images: Tensor) -> list[str]:
    """PNG data URIs of images float32 `[N, C, H, W]` in 0 .. 1, as the network saw them."""
    found = []
    for image in (images.cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "PNG")
        found.append("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    return found


def _memory(device: torch.device) -> dict:
    """The most that this process has held; of a run that was cut off, since it went on."""
    gpu = None if device.type == "cpu" else torch.cuda.max_memory_reserved(device)
    return {"peak_bytes": peak_memory(), "gpu_peak_bytes": gpu}


def _by_node(network: OneShotNetwork, pairs: Tensor) -> list[list[float]]:
    return [_rounded(own) for own in pairs.split(network.pair_counts)] if len(pairs) else []


def _rounded(values: Tensor) -> list:
    return np.round(values.to(torch.float64).numpy(), DIGITS).tolist()
