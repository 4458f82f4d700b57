import pytest
from hypothesis import given
from hypothesis import strategies as st

from autometa.errors import InputError
from autometa.runs import format_duration, parse_duration

TEXTS = {"30m": 1800, "1h30m": 5400, "90s": 90, "1.5h": 5400, "1 H 30 M": 5400, "2d": 172800, "45": 45}


@pytest.mark.parametrize("text", TEXTS)
def test_parse(text):
    seconds = TEXTS[text]
    assert parse_duration(text) == seconds


WRONG = ["", " ", "m", "30x", "30m1h", "-5s", "0s", "0", -1, float("nan"), "1e3s", True, "inf"]


@pytest.mark.parametrize("text", WRONG, ids=repr)
def test_refuses(text):
    with pytest.raises(InputError):
        parse_duration(text)


def test_format():
    written = [format_duration(seconds) for seconds in (5400, 90, 0.2, 86399, 3600, 93600)]
    assert written == ["1h30m", "1m30s", "0s", "1d", "1h", "1d2h"]


@given(st.integers(1, 3599))
def test_format_is_parsed_back(seconds):
    assert parse_duration(format_duration(seconds)) == seconds
