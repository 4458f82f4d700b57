"""Observations beside a real run, of every kind that runs record, with a class name that would be markup."""

import json

EVIL = "<img src=x onerror=alert(1)>\"'&"
SEEN = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def observed(run):
    """Write them into the folder of the MetaNAS run kept here; returns the folder."""
    edges = [[node, state] for node in range(3) for state in range(node + 2)]
    shares = [[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]] * 9
    pairs = [[1.0], [0.2, 0.3, 0.5], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]]
    both = {"normal": [1.0, 0.6, 0.4], "reduction": [1.0, 0.5, 0.3]}
    names = json.loads((run / "config.json").read_text())["primitives"]
    (run / "observations.json").write_text(
        json.dumps(
            {
                "version": 1,
                "primitives": names,
                "edges": {"normal": edges, "reduction": edges},
                "pruning": {"step": [0, 1, 2], "temperature": [1.0, 0.5, 0.1], "alive": both, "entropy": both},
                "weights": {"normal": shares, "reduction": shares, "pairs": {"normal": pairs, "reduction": pairs}},
                "confusion": {
                    "mode": "support_statistics",
                    "pairs": [{"true": EVIL, "predicted": "b", "count": 3, "of": 30}],
                },
                "examples": [
                    {
                        "classes": [EVIL, "b"],
                        "support": [[SEEN], [SEEN]],
                        "queries": [
                            {"image": SEEN, "true": 0, "predicted": 1, "probability": 0.9},
                            {"image": "https://example.org/x.png", "true": 1, "predicted": 1, "probability": 0.8},
                        ],
                    }
                ],
                "memory": {"peak_bytes": 512_000_000, "gpu_peak_bytes": None},
                "counts": {"steps": 3},
            }
        )
    )
    lines = [
        {
            "step": step,
            "ops": {kind: shares for kind in both},
            "pairs": {kind: pairs for kind in both},
            "entropy": {"normal": 0.9, "reduction": 0.8},
        }
        for step in (0, 500, 999)
    ]
    (run / "metrics-architecture.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    alarm = {"alarm": "collapse", "step": 700, "phase": "search", "found": f"80 % {EVIL}", "do": "lower it"}
    (run / "health.json").write_text(json.dumps([alarm]))
    return run
