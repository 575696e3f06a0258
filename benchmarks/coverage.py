"""How often prediction sets hold the true class, and how right probabilities are, on new classes.

    python benchmarks/coverage.py text.h5 speech.h5 --seeds 10

A seed is a class split of its own: a short meta-training, tuning on its meta-validation classes,
and all its frozen meta-test tasks.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from xmg.engine.config import make_config
from xmg.engine.data.tasks import test_tasks
from xmg.engine.learner import logits_of
from xmg.engine.meta_test import open_run
from xmg.engine.predict.calibration import tune
from xmg.engine.predict.model import load_model
from xmg.engine.train import meta_train

COVERAGES = (0.8, 0.9, 0.95)


def measured(run: Path, k: int) -> dict[str, float]:
    """Of one run: accuracy, what was expected of it, mean confidence, coverage and size of sets."""
    config, problem, _ = open_run(run)
    model = load_model(run)
    tasks = test_tasks(problem.test, config, [k])[k]
    tuning = tune(model, config.n_way, k)
    scores = model.learner.scores(tasks, [tuning.setting], config.tau)[0]
    p = tuning.probabilities(logits_of(scores, tuning.setting, config.tau))  # (E, n, n_way)
    plain = logits_of(scores, tuning.setting, config.tau).softmax(-1)
    truth = tasks.query_labels.expand(p.shape[:2])
    found = {
        "accuracy": float((p.argmax(-1) == truth).double().mean()),
        "expected": tuning.accuracy,
        "confidence": float(p.amax(-1).mean()),
        "confidence before": float(plain.amax(-1).mean()),
    }
    for coverage in COVERAGES:
        sets = tuning.sets(p, coverage)
        held = sets.gather(-1, truth.unsqueeze(-1))
        found[f"held at {coverage:.0%}"] = float(held.double().mean())
        found[f"one class at {coverage:.0%}"] = float((sets.sum(-1) == 1).double().mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--concepts", type=Path)
    parser.add_argument("--shots", default="1,5")
    parser.add_argument("--n-query", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=60)
    given = parser.parse_args()
    shots = tuple(map(int, given.shots.split(",")))
    rows: dict[int, list[dict[str, float]]] = {k: [] for k in shots}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            config = make_config(
                source=given.source.resolve(),
                target=given.target.resolve(),
                concepts=given.concepts.resolve() if given.concepts else None,
                shots=shots,
                n_query=given.n_query,
                seed=seed,
                iterations=given.iterations,
            )
            run = Path(folder) / str(seed)
            meta_train(config, run)
            for k in shots:
                rows[k].append(measured(run, k))
    for k, found in rows.items():
        print(f"{k}-shot, {len(found)} seeds: mean (std over seeds)")
        for name in found[0]:
            values = np.array([one[name] for one in found])
            print(f"  {name:24} {100 * values.mean():5.1f} ({100 * values.std(ddof=1):.1f})")


if __name__ == "__main__":
    main()
