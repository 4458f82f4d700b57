import pytest
import torch

from autometa.errors import DivergedError, InputError
from autometa.runs import NonFiniteWatch


def flags(slots, lost):
    return [i not in lost for i in range(slots)]


def test_ten_percent_is_allowed_and_more_is_not():
    watch = NonFiniteWatch()
    for _ in range(300):
        assert watch.update(flags(10, {3})) == 1
    message = r"101 of 1000 slots in the last 100 iterations .* slot 3 \(100 times\), slot 7 \(1 times\)"
    with pytest.raises(DivergedError, match=message):
        watch.update(flags(10, {3, 7}))
    assert watch.counts == {"slot 3": 301, "slot 7": 1}


def test_a_bad_start_is_not_judged_by_its_first_iterations_alone():
    watch = NonFiniteWatch(limit=0.1, window=100)
    for _ in range(10):
        watch.update(torch.zeros(5, dtype=torch.bool))
    with pytest.raises(DivergedError, match="55 of 55 slots in the last 11 iterations"):
        watch.update(torch.zeros(5, dtype=torch.bool))


def test_old_iterations_are_forgotten():
    watch = NonFiniteWatch(limit=0.5, window=4)
    for lost in [{0, 1}, {0, 1}, {}, {}, {0, 1}, {0, 1}]:
        watch.update(flags(2, lost))
    with pytest.raises(DivergedError):
        watch.update(flags(2, {0}))


def test_names_and_state_survive():
    whole, first = NonFiniteWatch(limit=0.4, window=3), NonFiniteWatch(limit=0.4, window=3)
    patterns = [{0}, {}, {0, 1}, {}, {1}]
    names = ["cell 4 task 0", "cell 4 task 1", "c"]
    for lost in patterns[:2]:
        whole.update(flags(3, lost), names)
        first.update(flags(3, lost), names)
    second = NonFiniteWatch(limit=0.4, window=3)
    second.restore(first.state())
    for lost in patterns[2:]:
        assert whole.update(flags(3, lost), names) == second.update(flags(3, lost), names) == len(lost)
    assert whole.state() == second.state()
    for watch in (whole, second):
        with pytest.raises(DivergedError, match=r"cell 4 task 1 \(2 times\)"):
            watch.update(flags(3, {0, 1, 2}), names)


def test_bad_arguments():
    with pytest.raises(InputError, match="limit"):
        NonFiniteWatch(limit=2)
    with pytest.raises(InputError, match="2 names for 3 slots"):
        NonFiniteWatch().update([True] * 3, ["a", "b"])
