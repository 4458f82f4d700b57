"""How tests share the cores: the longest files come first, threads that wait sleep."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import LONGEST, ROOT


def test_the_longest_files_are_there_and_come_first(request: pytest.FixtureRequest):
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in places)
    found = [places.get(item.path, len(LONGEST)) for item in request.session.items]
    assert found == sorted(found) and found[-1] == len(LONGEST)
    assert getattr(request.config.option, "loadscopereorder", False) is False


def test_threads_that_wait_sleep():
    assert "OMP_WAIT_POLICY" in os.environ
    program = "import sys; import tests; assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
