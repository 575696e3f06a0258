"""The model card of an exported model (Mitchell et al., "Model cards", FAT* 2019)."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from xmg.engine.tables import Table, to_markdown

_UNKNOWN: Final = "not known to xmg; see where the weights come from"
_TEMPLATE: Final = """\
---
library_name: xmg
license: other
license_name: see-below
tags: [few-shot, cross-modal, meta-learning]
---

# {title}

Few-shot classification of `{target}` by {system}, which has borrowed from the labels of `{source}`:
it adapts to a few labels for each class of a new task.

```python
import xmg

classifier = xmg.load("{name}").fit(features, labels)  # a few rows for each class
classifier.predict_proba(more_features)
```

or `xmg predict {name} labelled/ unlabelled/ -o answers.csv`. Features are those of the encoder
`{encoder}`, of {dim} numbers.

## Data and provenance

{data}

Meta-trained on {n_pairs} pairs in {n_sets} sets and {n_source} source classes with labels. Settings
were chosen on {n_validation} other target classes ({validation}), and accuracy was measured on
{n_test} more ({test}). All settings are in `model.json`.

## Accuracy

{accuracy}

Accuracy in percent on classes that training never saw: {n_way}-way tasks, {n_tasks} of them, mean
± standard deviation of {n_repeats} repeats.

## Licences

{licences}

## Limits

- Measured on this data set and these classes; other recordings, languages or devices may be harder.
- Every input is given one of the classes of the task: nothing says "none of these".
- Probabilities and prediction sets are calibrated on tasks of {n_validation} held-out classes. They
  hold on average over tasks like those, not for each class, and less well for more classes.
- `validation.h5` holds features and ids of the held-out rows: publish it only where you may.
"""


def model_card(name: str, found: Mapping[str, Any], licences: Mapping[str, str]) -> str:
    """Markdown of what model.json holds; licences: of encoders, by name."""
    classes, config, data = found["classes"], found["config"], found["data"]
    first = found["accuracy"][0]
    return _TEMPLATE.format(
        title=_plain(name),
        name=_code(name),
        system=_plain(config["system"]),
        source=_code(data["source"]["dataset"]),
        target=_code(data["target"]["dataset"]),
        encoder=_code(data["target"]["encoder"]),
        dim=data["target"]["dim"],
        data=_data(data),
        n_pairs=f"{found['n_pairs']:,}",
        n_sets=f"{found['n_sets']:,}",
        n_source=len(classes["source"]),
        n_validation=len(classes["validation"]),
        validation=_names(classes["validation"]),
        n_test=len(classes["test"]),
        test=_names(classes["test"]),
        accuracy=_accuracy(found["accuracy"]),
        n_way=config["n_way"],
        n_tasks=first["n_tasks"],
        n_repeats=first["n_repeats"],
        licences=_licences([side["encoder"] for side in data.values()], licences),
    )


def _data(data: Mapping[str, Any]) -> str:
    rows = (
        ("data set", "dataset"), ("rows", "rows"), ("encoder", "encoder"),
        ("SHA-256 of weights", "weights_sha256"), ("fingerprint of features", "fingerprint"),
    )  # fmt: skip
    sides = ("source", "target")
    lines = [[title, *(_plain(str(data[s][key] or "-")) for s in sides)] for title, key in rows]
    return to_markdown(Table("", ["", *sides], lines))


def _accuracy(rows: Sequence[Mapping[str, Any]]) -> str:
    shots = list(dict.fromkeys(row["shots"] for row in rows))
    cells = {
        (r["system"], r["shots"]): f"{100 * r['mean']:.1f} ± {100 * r['std']:.1f}" for r in rows
    }
    systems = dict.fromkeys(row["system"] for row in rows)
    head = ["system", *(f"{k}-shot" for k in shots)]
    return to_markdown(Table("", head, [[s, *(cells[s, k] for k in shots)] for s in systems]))


def _licences(encoders: Sequence[str], licences: Mapping[str, str]) -> str:
    lines = [
        *([f"encoder {_plain(e)}", _plain(licences.get(e, _UNKNOWN))] for e in encoders),
        ["data sets", "not known to xmg; those of the data named above"],
        ["heads, `model.safetensors`", "to be stated by who publishes them"],
    ]
    return to_markdown(Table("", ["part", "licence"], lines))


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_plain, names)) if len(names) <= 12 else "listed in `model.json`"


def _plain(text: str) -> str:
    """A text that cannot steer Markdown; `to_markdown` sees to bars."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return "".join(f"\\{c}" if c in "\\`*_[]#!" else c for c in escape(printable))


def _code(text: str) -> str:
    """The same, where names may hold anything but what ends code."""
    return "".join(c for c in text if c.isprintable() and c not in '`|"\\')
