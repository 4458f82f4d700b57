"""A script without a main guard is told in one sentence, before anything is written, and never starts itself again."""

import subprocess
import sys
from pathlib import Path

import pytest

import autometa

CHECK = "from autometa.search.main_guard import check_main_guard"
CALLED = f"""{CHECK}
def main():
    check_main_guard(True)
"""
SCRIPTS = {
    "main()": False,
    "if __name__ == '__main__':\n    main()": True,
    "if '__main__' == __name__:\n    for _ in range(1):\n        main()": True,
    "for _ in range(1):\n    main()": False,
    "if __name__:\n    pass\nmain()": False,
}


def run(path, text):
    """The script as Python runs it: (exit code, stdout, stderr)."""
    path.write_text(text)
    source = f"import sys; sys.path.insert(0, {str(Path(autometa.__file__).parents[1])!r})\n"
    path.write_text(source + text)
    done = subprocess.run([sys.executable, path.name], cwd=path.parent, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("last", SCRIPTS)
def test_the_call_is_found(last, tmp_path):
    code, _, told = run(tmp_path / "script.py", CALLED + last)
    assert (code == 0) is SCRIPTS[last], told
    assert code == 0 or 'put the call under `if __name__ == "__main__":`' in told.splitlines()[-1]


def test_a_script_from_standard_input_is_told_to_be_saved():
    """Its processes would look for a file called <stdin>."""
    source = f"import sys; sys.path.insert(0, {str(Path(autometa.__file__).parents[1])!r})\n{CALLED}"
    for words in ([], ["-"]):
        done = subprocess.run([sys.executable, *words], input=f"{source}\nmain()", capture_output=True, text=True)
        assert done.returncode == 1 and "<stdin> starts processes" in done.stderr.splitlines()[-1], done.stderr
        assert "is no file: save it as one" in done.stderr
    done = subprocess.run([sys.executable, "-c", f"{source}\nmain()"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_search_with_workers_writes_nothing(tmp_path):
    words = "'auto-meta', preset='quick', settings={'data.name': 'strokes'}, workers=2"
    code, out, told = run(tmp_path / "script.py", f"import autometa\nautometa.search({words})")
    assert code == 1 and out == "" and told.count("Traceback") == 1, told
    assert "script.py starts processes that import it anew" in told.splitlines()[-1] and len(told.splitlines()) < 24
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_a_worker_that_imports_such_a_script_ends_at_once(tmp_path):
    script = f"""import multiprocessing, sys
{CHECK}
check_main_guard(False)
print("begun", flush=True)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=print)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""
    assert run(tmp_path / "script.py", script) == (78, "begun\n", "")
