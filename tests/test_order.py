"""The order of the tests: the longest files first."""

from __future__ import annotations

import pytest

from tests.conftest import LONGEST, ROOT


def test_the_longest_files_are_there_and_come_first(request: pytest.FixtureRequest):
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in places)
    found = [places.get(item.path, len(LONGEST)) for item in request.session.items]
    assert found == sorted(found) and found[-1] == len(LONGEST)
    assert getattr(request.config.option, "loadscopereorder", False) is False
