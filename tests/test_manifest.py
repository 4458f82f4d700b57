"""The Kubernetes manifest: valid YAML whose command line exists, and a ledger on a disk of the driver's own."""

import shlex
from pathlib import Path

import pytest

from tests.cli.driving import call

yaml = pytest.importorskip("yaml")
MANIFEST = Path(__file__).resolve().parents[1] / "docs" / "kuberay.yaml"


def test_the_manifest_runs_a_search_that_exists():
    job, *claims = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    assert job["kind"] == "RayJob" and {claim["kind"] for claim in claims} == {"PersistentVolumeClaim"}
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["autometa", "search", "auto-meta"] and "--resume" in words and "--ray" in words
    told = call("search", "auto-meta", "--help").out
    assert all(word in told for word in words if word.startswith("-"))

    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert group["maxReplicas"] == int(words[words.index("--workers") + 1])
    head, worker = (spec["template"]["spec"] for spec in (cluster["headGroupSpec"], group))
    wanted = {volume["persistentVolumeClaim"]["claimName"] for pod in (head, worker) for volume in pod["volumes"]}
    assert wanted == {claim["metadata"]["name"] for claim in claims}
    runs = {mount["name"]: mount["mountPath"] for mount in head["containers"][0]["volumeMounts"]}["runs"]
    assert words[words.index("--out") + 1].startswith(f"{runs}/")
    assert "runs" not in {mount["name"] for mount in worker["containers"][0]["volumeMounts"]}
    (own,) = (claim for claim in claims if claim["metadata"]["name"] == "autometa-runs")
    assert own["spec"]["accessModes"] == ["ReadWriteOnce"]
