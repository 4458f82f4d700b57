"""TPE through Optuna: one sentence where it is missing, and nothing of it is left in the process."""

import sys

import pytest

from autometa.errors import InputError
from autometa.nas.strategies.tpe import TPE
from tests.nas.strategies.landscape import SPEC


def test_a_missing_library_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"needs Optuna: pip install 'autometa-nas\[optuna\]'"):
        TPE().check(SPEC)


def test_wrong_settings():
    with pytest.raises(InputError, match="draws of 1 or more"):
        TPE(draws=0).check(SPEC)
