"""Lay out a part of Caltech-101 and ESC-50 as somebody's own data.

    python published_as_folders.py CALTECH101 ESC50

photos/CLASS/*.jpg, ten of each class, and sounds.csv with sounds/CLASS/*, a recording for each.
"""

import csv
import shutil
import sys
from pathlib import Path

caltech, esc50 = map(Path, sys.argv[1:])
for folder in sorted(path for path in caltech.iterdir() if path.is_dir()):
    for photo in sorted(folder.glob("*.jpg"))[:10]:
        place = Path("photos", folder.name, photo.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, place)

with (
    open(esc50 / "meta" / "esc50.csv", encoding="utf-8", newline="") as meta,
    open("sounds.csv", "w", encoding="utf-8", newline="") as out,
):
    rows = csv.writer(out)
    rows.writerow(["path", "label", "recording"])
    for row in csv.DictReader(meta):
        sound = esc50 / "audio" / row["filename"]
        if sound.exists():
            place = Path("sounds", row["category"], sound.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sound, place)
            rows.writerow([place.as_posix(), row["category"], row["src_file"]])
