"""The journal of meta-training: which outcomes are written down, in which order, and what a line tells of them."""

import pytest
import torch

from autometa.train.journal import LOG_EVERY, Journal, told
from autometa.train.trainer import Step


def step(finite=(True, True)):
    losses = torch.tensor([[2.0, 4.0], [1.0, 3.0]])
    update = torch.tensor([0.5, 0.25], dtype=torch.float64)
    return Step(losses, torch.tensor([0.5, 1.0]), torch.tensor(finite), update, torch.zeros(0))


class Session:
    def __init__(self):
        self.lines, self.checked = [], []

    def check_finite(self, finite, names, i):
        self.checked.append((names, i))

    def log(self, i, **values):
        self.lines.append((i, values))


def test_every_outcome_is_checked_and_some_are_written():
    session, journal = Session(), Journal(LOG_EVERY + 3, 2)
    with pytest.raises(AssertionError, match="opened first"):
        journal.tell([(0, step())])
    journal.open(session)
    journal.tell([(i, step()) for i in range(LOG_EVERY + 3)])
    assert [i for i, _ in session.lines] == [0, LOG_EVERY, LOG_EVERY + 2], "the last one too"
    assert session.checked[1] == (["task 2", "task 3"], 1) and len(session.checked) == LOG_EVERY + 3
    assert journal.state() == {}


def test_a_line_tells_means_over_the_slots_that_stayed_finite():
    line = told(step((True, False)))
    assert (line["loss_first"], line["loss"], line["accuracy"], line["update"]) == (2.0, 1.0, 0.5, 0.5)
    assert "update_architecture" not in line
    assert told(step((False, False)))["loss"] is None
