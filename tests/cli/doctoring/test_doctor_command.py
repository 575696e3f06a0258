import json
import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from xmg.cli.doctoring import caches, machine, packages
from xmg.cli.doctoring.caches import size
from xmg.cli.doctoring.facts import devices, told
from xmg.cli.doctoring.finding import Finding
from xmg.cli.doctoring.probe import Outcome
from xmg.extract.encoders import WEIGHTS_FILES

ROOT = Path(__file__).resolve().parents[3]


def doctor(folder, *words, fakes=()):
    """Run xmg doctor in a folder, with these packages in front of the real ones."""
    ahead = folder / "fakes"
    for name, text in fakes:
        (ahead / name).mkdir(parents=True)
        (ahead / name / "__init__.py").write_text(text)
    path = os.pathsep.join([str(ahead), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "xmg.cli.main", "doctor", *words],
        capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": path},
        check=False,
    )  # fmt: skip


def installed(extra):
    """Names that xmg's own metadata lists for an extra."""
    return [one.name for one in packages.wanted().groups.get(extra, [])]


def test_a_user_without_a_home_has_caches_nowhere(tmp_path, monkeypatch):
    """As in a container that is given any number for its user."""
    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "XMG_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    found = list(caches.caches(None))
    assert {one.status for one in found} == {"ok"}
    assert "nothing at ~/.cache/xmg/weights yet" in [one.what for one in found]


def test_broken_packages_become_findings(tmp_path):
    fakes = [
        ("torch", "raise OSError('libcudart.so: \\x1b[31mcannot open\\x1b[0m')"),
        ("soxr", "import os; os.abort()"),
        ("h5py", "raise ImportError('numpy.dtype size changed')"),
    ]
    ran = doctor(tmp_path, "--json", fakes=fakes)
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    whole = json.loads(ran.stdout)
    problems = [one for one in whole["findings"] if one["status"] == "problem"]
    assert whole["status"] == "problem"
    broken = {one["about"]: one for one in problems}
    assert len(broken) == len(problems)  # each package is named once
    assert "libcudart" in broken["torch"]["what"]
    assert broken["torch"]["fix"].startswith("pip install --upgrade --force-reinstall 'torch")
    assert "numpy.dtype size changed" in broken["h5py"]["what"]
    assert "h5py" in broken["h5py"]["fix"]
    if "soxr" in map(packages.module_of, installed("audio")):
        assert "SIGABRT" in broken["soxr"]["what"]
    untried = [one["what"] for one in whole["findings"] if "not tried" in one["what"]]
    assert any("safetensors" in what and "torch does not load" in what for what in untried)
    abouts = {one["about"] for one in whole["findings"]}
    assert {"python", "cores", "memory", "disk here", "Hugging Face hub"} <= abouts


def test_what_is_found_cannot_steer_the_terminal(xmg, monkeypatch):
    found = [
        Finding("ok", "a", "[red]no markup[/red]"),
        Finding("warning", "b", "\x1b[2Jgone", "rm \x07"),
    ]
    monkeypatch.setattr("xmg.cli.doctoring.examine.examine", lambda: found)
    status, out, err = xmg("doctor")
    assert status == 0 and "0 problems, 1 warning\n" in err
    assert "[red]no markup[/red]" in out and "\x1b" not in out and "\x07" not in out
    assert r"warning  b: \x1b[2Jgone" in out and r"fix: rm \x07" in out
    monkeypatch.setattr(
        "xmg.cli.doctoring.examine.examine", lambda: [*found, Finding("problem", "c", "wrong")]
    )
    assert xmg("doctor")[0] == 1


def test_every_package_of_every_extra_has_its_module(monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(
        line for name, extra in project["optional-dependencies"].items() for line in extra
        if name not in packages._TOOLS
    )]  # fmt: skip
    for one in map(Requirement, lines):
        module = packages.module_of(one.name)
        assert module.isidentifier()
        try:
            packages.version(one.name)
        except packages.PackageNotFoundError:
            continue
        assert find_spec(module), f"{one.name} is installed, and {module} is not there"


METADATA = """Metadata-Version: 2.4
Name: xmg
Version: 0.1.0
Requires-Python: {python}
Requires-Dist: json-five>=1
Requires-Dist: rich{rich}
Requires-Dist: pytest>=1; extra == "audio"
Requires-Dist: no-such-package>=2; extra == "audio"
Requires-Dist: xmg[audio]; extra == "all"
Provides-Extra: audio
Provides-Extra: all
"""


def examined(folder, monkeypatch, python=">=3.11", rich=">=1"):
    about = folder / "xmg-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA.format(python=python, rich=rich))
    monkeypatch.syspath_prepend(folder)
    asked = packages.wanted()
    assert list(asked.groups) == ["", "audio"]
    return packages.check(asked)[0]


def test_missing_packages_and_old_versions(tmp_path, monkeypatch):
    found = examined(tmp_path, monkeypatch, ">=9", ">=9999")
    said = {(one.status, one.about, one.what): one.fix for one in found}
    python, *_ = [one for one in found if one.about == "python"]
    assert python.status == "problem" and ">=9" in python.what
    missing = said["problem", "packages", "not installed: json-five"]
    assert missing == "pip install --force-reinstall --no-deps 'json-five>=1'"
    absent = said["ok", "extra audio", "not installed: no-such-package"]
    assert absent == "pip install 'xmg[audio]'"
    old = [one for one in found if one.status == "warning"]
    assert len(old) == 1 and "xmg asks for >=9999" in old[0].what and "rich>=9999" in old[0].fix


H100 = {
    "name": "NVIDIA H100", "capability": "9.0", "free": 80e9, "total": 85e9, "error": None
}  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "driver", "status", "words"),
    [
        ({"cuda": "13.0", "devices": [H100]}, True, "ok", "80.0 of 85.0 GB free"),
        ({"cuda": "13.0", "devices": [H100 | {"free": 1e9}]}, True, "warning", "1.0 of 85.0"),
        ({"cuda": "13.0", "devices": [H100 | {"error": "no kernel image\nx"}]}, True, "warning",
         "does not compute: no kernel image"),
        ({"cuda": "13.0", "reason": "Found no NVIDIA driver on your system. Please"}, False, "ok",
         "no CUDA device"),
        ({"cuda": "13.0", "reason": "The NVIDIA driver on your system is too old (found version "
          "12020). Please update"}, True, "warning", "too old (found version 12020)"),
        ({"cuda": None, "reason": "Torch not compiled with CUDA enabled"}, True, "warning",
         "built without CUDA"),
        ({"cuda": None, "reason": "Torch not compiled with CUDA enabled"}, False, "ok", "the CPU"),
        ({"cuda": "13.0", "reason": "No CUDA GPUs are available"}, True, "warning",
         "No CUDA GPUs are available"),
    ],
)  # fmt: skip
def test_devices(facts, driver, status, words):
    (found,) = devices(facts, driver)
    assert found.status == status and words in found.what and bool(found.fix) == (status != "ok")


def test_what_lies_inside_packages():
    tried = {
        "h5py": Outcome({"hdf5": "2.0.0"}),
        "soundfile": Outcome({"libsndfile": "1.0.31", "lacks": ["MP3"]}),
        "PIL": Outcome({"lacks": ["AVIF"]}),
        "nltk": Outcome({"wordnet": False}),
    }
    found = {one.about: one for one in told(tried)}
    assert found["HDF5"].what == "2.0.0" and "MP3" in found["audio files"].what
    assert "AVIF" in found["image files"].what and "downloader wordnet" in found["WordNet"].fix
    assert not list(told({name: Outcome(error="broken") for name in tried}))


def test_weights_are_found_where_encoders_look(tmp_path, monkeypatch):
    weights = pytest.importorskip("xmg.extract.encoders.weights")
    hub = tmp_path / "hf" / "hub"
    (hub / "models--google-bert--bert-base-uncased" / "blobs").mkdir(parents=True)
    (hub / "models--google-bert--bert-base-uncased" / "blobs" / "x").write_bytes(bytes(2000))
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("XMG_WEIGHTS", str(mine))
    for name, file in WEIGHTS_FILES.items():
        (mine / file).touch()
        assert weights.find_weights(name, None) == mine / file
    found = {one.about: one.what for one in caches.caches(None)}
    assert (
        found["Hugging Face hub"].startswith("2.0 kB") and "bert-base" in found["Hugging Face hub"]
    )
    assert "nothing at" in found["torch hub"] and "yamnet, cnn14" in found["XMG_WEIGHTS"]
    monkeypatch.setenv("XMG_WEIGHTS", str(tmp_path / "gone"))
    assert "warning" in {one.status for one in caches.caches(None) if one.about == "XMG_WEIGHTS"}


def test_sizes_follow_no_links_and_end_in_time(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1000))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert size(tmp_path).endswith("kB") and size(tmp_path, -1.0).startswith("over ")


def test_disks(tmp_path, monkeypatch):
    found = {one.about: one for one in machine.disks(tmp_path)}
    assert found["file system here"].what == "memory maps, allocation of space, locks"
    assert not list(tmp_path.iterdir())

    def refuse(fd):
        raise OSError(95, "not supported")

    for name, fix in (("locks", "no two runs"), ("memory maps", "local disk")):
        monkeypatch.setitem(machine._STEPS, name, refuse)
        found = {one.about: one for one in machine.disks(tmp_path)}
        assert found["file system here"].status == "warning"
        assert name in found["file system here"].what and fix in found["file system here"].fix
    usage = machine.shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage)
    found = {one.about: one.status for one in machine.disks(tmp_path)}
    assert found["disk here"] == "warning" and found["disk for temporary files"] == "problem"


@pytest.mark.parametrize(("quota", "status"), [("max 100000", "ok"), ("50000 100000", "warning")])
def test_a_quota_below_the_cores(tmp_path, monkeypatch, quota, status):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    cores = next(one for one in machine.machine() if one.about == "cores")
    assert cores.status == status and ("0.5 cores" in cores.what) == (status == "warning")


def test_a_build_that_does_not_fit_is_the_reason(monkeypatch):
    one, reason = Requirement("torchvision>=0.1"), "torchvision is for the CPU alone"
    monkeypatch.setattr(packages, "version", lambda name: "0.29.2")
    failed = Outcome(error="RuntimeError: operator torchvision::nms\n\n  does not exist")
    (found,) = packages._package(one, failed, reason)
    assert (found.status, found.about) == ("problem", "torchvision")
    assert found.what == (
        "0.29.2 does not work: RuntimeError: operator torchvision::nms does not exist; " + reason
    )
    (found,) = packages._package(one, Outcome(), reason)
    assert found.status == "warning" and reason in found.what and "pip install" in found.fix
    assert not list(packages._package(one, Outcome(), None))
    audio = Requirement("torchaudio>=0.1")  # no index has another build; it works, or does not load
    assert not list(packages._package(audio, Outcome(), reason))
    assert [one.status for one in packages._package(audio, failed, reason)] == ["problem"]
