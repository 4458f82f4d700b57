import signal

import pytest


@pytest.fixture(autouse=True)
def usual_signals():
    """A shell that starts the tests in the background, or nohup, lets them ignore SIGINT or SIGHUP."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
