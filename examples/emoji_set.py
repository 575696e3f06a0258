"""Make a text -> image set of emoji: their names, and their pictures by two vendors.

    npm pack emoji-datasource-google emoji-datasource-twitter
    python emoji_set.py emoji-datasource-google-*.tgz emoji-datasource-twitter-*.tgz

Writes emoji.csv and VENDOR/CODE.png. Classes are subcategories of at least 16 emoji; a recording
is one emoji, so that its two pictures never stand on both sides of a task.
"""

import csv
import json
import sys
import tarfile
from collections import Counter
from pathlib import Path

LEAST = 16  # emoji of a class

packages = {Path(name).name.split("-")[2]: tarfile.open(name) for name in sys.argv[1:]}  # noqa: SIM115
with packages["google"].extractfile("package/emoji.json") as listing:
    listed = json.load(listing)
listed = [e for e in listed if all(e.get(f"has_img_{vendor}") for vendor in packages)]
listed = [e for e in listed if e["category"] not in {"Flags", "Component"}]
sizes = Counter(e["subcategory"] for e in listed)

with open("emoji.csv", "w", encoding="utf-8", newline="") as out:
    rows = csv.writer(out)
    rows.writerow(["id", "image", "text", "subcategory", "category", "recording"])
    for emoji in sorted(listed, key=lambda e: e["unified"]):
        if sizes[emoji["subcategory"]] < LEAST:
            continue
        code = emoji["unified"].lower()
        names = emoji["name"].lower(), *(n.replace("_", " ") for n in emoji["short_names"])
        text = ", ".join(dict.fromkeys(names))
        for vendor, package in packages.items():
            place = Path(vendor, f"{code}.png")
            place.parent.mkdir(exist_ok=True)
            with package.extractfile(f"package/img/{vendor}/64/{code}.png") as picture:
                place.write_bytes(picture.read())
            kinds = emoji["subcategory"], emoji["category"], code
            rows.writerow([f"{vendor}/{code}", place.as_posix(), text, *kinds])
