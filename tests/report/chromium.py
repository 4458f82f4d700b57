"""Headless Chromium over its DevTools protocol: two pipes, JSON between zero bytes, and nothing but Chromium."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)
PATIENCE = 60.0
"""Seconds for one answer: browsers begin slowly on a busy machine."""


def program() -> str | None:
    """Where Chromium is, None where it is not."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One page; `console` collects what it complains of."""

    def __init__(self, to: int, of: int) -> None:
        self._to, self._of = to, of
        self._last, self._read, self._waiting = 0, b"", []
        self._session: str | None = None
        self.console: list[str] = []

    def open(self) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def visit(self, path: Path, width: int, dark: bool = False, media: str = "") -> None:
        """Load a file in a window of `width` CSS pixels, in light or dark, for the screen or `print`."""
        narrow = width < 600
        size = {"width": width, "height": 844 if narrow else 900, "deviceScaleFactor": 1, "mobile": narrow}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.console.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("Page.loadEventFired")
        self.evaluate("document.fonts.ready.then(() => 1)")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer. Raises `RuntimeError` where Chromium refuses it."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        number = self._last
        answer = self._until(lambda found: found.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait_for(self, event: str) -> None:
        for k, found in enumerate(self._waiting):
            if found.get("method") == event:
                del self._waiting[: k + 1]
                return
        self._until(lambda found: found.get("method") == event)

    def _until(self, wanted) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self._message(deadline)
            self._listen(found)
            if wanted(found):
                return found
            if found.get("method") == "Page.loadEventFired":
                self._waiting.append(found)

    def _listen(self, found: dict[str, Any]) -> None:
        method, about = found.get("method"), found.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.console.append(str(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.console.append(str(about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.console.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("file:", "data:")):
            self.console.append(f"asked for {about['request']['url']}")

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._of], [], [], left)[0]:
                raise TimeoutError(f"Chromium did not answer within {PATIENCE:.0f} s")
            data = os.read(self._of, 1 << 16)
            if not data:
                raise RuntimeError("Chromium has ended")
            self._read += data
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)


@contextmanager
def browser() -> Iterator[Chromium]:
    """A page of a fresh Chromium, which ends with the block."""
    to_read, to_write = os.pipe()
    of_read, of_write = os.pipe()
    theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (to_read, of_write)]
    for fd in (to_read, of_write):
        os.close(fd)

    def as_three_and_four() -> None:
        os.dup2(theirs[0], 3)
        os.dup2(theirs[1], 4)

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program(), *FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        child = subprocess.Popen(command, pass_fds=(3, 4), preexec_fn=as_three_and_four, **quiet)
        for fd in theirs:
            os.close(fd)
        try:
            page = Chromium(to_write, of_read)
            page.open()
            yield page
        finally:
            try:
                page.send("Browser.close")
                child.wait(20)
            except (RuntimeError, TimeoutError, OSError, subprocess.TimeoutExpired, UnboundLocalError):
                child.kill()
                child.wait()
            os.close(to_write)
            os.close(of_read)
