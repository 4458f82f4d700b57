"""A meta-iteration of each algorithm, op by op, for compute-sanitizer: every kernel once, on small sizes."""

import os
import tempfile
from dataclasses import replace

import torch

os.environ["AUTOMETA_GRAPH"] = "0"
os.environ["AUTOMETA_CACHE"] = tempfile.mkdtemp()

from autometa.train.tasks import Source  # noqa: E402  after the environment
from tests.train.test_loop import FOUR, LONG, trainer  # noqa: E402

if __name__ == "__main__":
    torch.set_num_threads(1)
    source = Source.open(LONG.data, torch.device("cuda", 0))
    for config in (
        replace(LONG, inner=replace(LONG.inner, steps=1)),
        replace(FOUR, inner=replace(FOUR.inner, steps=1)),
    ):
        done = trainer(replace(config, inner=replace(config.inner, steps=1)), source).step(7)
        assert bool(done.finite.all()), done
    torch.cuda.synchronize()
    print("done")
