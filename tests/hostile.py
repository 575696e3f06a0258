"""Runs whose ids, class names and inputs mean harm."""

import csv
import json

import numpy as np
import soundfile
import synthetic
from PIL import Image

from xmg.engine.train import meta_train

NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{0}$",
    "&lt;b&gt;&#x41;",
    "\u202egnp.exe",
    "<!-- --><style>*{display:none}</style>",
    "javascript:alert(1)",
    "猫 🐈 مرحبا",
    "]]></svg><svg onload=alert(1)>",
    "a|b" + "very long " * 30,
)


def world(folder, weak=True, kinds=("image", "audio")):
    """A run of 12 classes of 12 rows, and the manifests of its source and its target."""
    files = synthetic.write_pair(folder, n_classes=12, per_class=12)
    named = [f"{NAMES[i // 12]}" for i in range(144)]
    paths = []
    for side, kind, file in zip(("source", "target"), kinds, files, strict=True):
        ids = [f"<i>{side if weak else 'both'}{i}</i>{NAMES[i // 12][:20]}" for i in range(144)]
        synthetic.write(folder / f"{side}_h.h5", file.features, named, ids)
        paths.append(_inputs(folder / side, kind, ids, named))
    settings = {"iterations": 3, "n_validation": 2, "n_sets": 4}
    if weak:
        tables = [
            f"[concept.{json.dumps(n)}]\nsource = [{json.dumps(n)}]\ntarget = [{json.dumps(n)}]"
            for n in NAMES[:5]
        ]
        (folder / "concepts.toml").write_text("\n".join(tables), encoding="utf-8")
        settings["concepts"] = folder / "concepts.toml"
    written = [synthetic.FeatureFile(folder / f"{s}_h.h5") for s in ("source", "target")]
    meta_train(synthetic.config_of(*written, **settings), folder / "run")
    return folder / "run", *paths


def _inputs(folder, kind, ids, labels):
    """Inputs and their manifest; every seventh is damaged, every eleventh is not there."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i, (name, label) in enumerate(zip(ids, labels, strict=True)):
        content = {"image": f"{i}.png", "audio": f"{i}.wav", "text": f"<b>{label} {i}"}[kind]
        if kind != "text" and i % 11 != 0:
            (_image if kind == "image" else _sound)(folder / content, rng)
        if kind != "text" and i % 7 == 6:
            (folder / content).write_bytes(b"<svg onload=alert(1)>")
        rows.append((name, content, label))
    with open(folder / "data.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text" if kind == "text" else "path", "label"])
        writer.writerows(rows)
    return folder / "data.csv"


def _image(path, rng):
    Image.fromarray(rng.integers(0, 255, (300, 500, 3), np.uint8)).save(path)


def _sound(path, rng):
    wave = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 900) * np.arange(22050 * 2) / 22050)
    soundfile.write(path, wave, 22050)
