from importlib.metadata import version

import pytest

from xmg.cli.doctoring.fit import FAMILY, Build, builds, misfits

TORCH = Build("2.14.1+cu130", "13.0")


@pytest.mark.parametrize(
    ("torch", "partner", "other", "reason"),
    [
        (TORCH, "torchvision", Build("0.29.2+cu132", "13.2", ">=2.14.0"), None),
        (TORCH, "torchaudio", Build("2.11.0+cu130", "13.0"), None),
        (TORCH, "torchaudio", Build("2.11.0", None), None),
        (Build("2.14.1+cpu", ""), "torchvision", Build("0.29.2+cpu", ""), None),
        (Build("2.14.1+rocm6.4", None), "torchvision", Build("0.29.2+cu130", "13.0"), None),
        (Build("2.15.0+cu132", "13.2"), "torchaudio", Build("2.11.0+cu130", "13.0"), "CUDA 13.2"),
        (Build("2.13.0+cpu", ""), "torchvision", Build("0.28.0+cu130", "13.0"), "the CPU alone"),
        (TORCH, "torchvision", Build("0.29.2+cpu", ""), "for the CPU alone, torch for CUDA 13.0"),
        (TORCH, "torchvision", Build("0.29.2+cu126", "12.6"), "built for CUDA 12.6"),
        (TORCH, "torchvision", Build("0.28.0", None, "==2.13.0"), "for torch==2.13.0"),
        (Build("2.13.0+cpu", ""), "torchvision", Build("0.28.0+cpu", "", "==2.13.0"), None),
    ],
)
def test_what_fits(torch, partner, other, reason):
    found = misfits({"torch": torch, partner: other})
    assert bool(found) == bool(reason)
    assert not reason or reason in found[partner]


def test_without_torch_nothing_is_to_fit():
    assert misfits({"torchvision": Build("0.29.2+cpu", "")}) == {}
    assert misfits({}) == {}


def test_builds_are_read_as_the_packages_say_them():
    torch = pytest.importorskip("torch")
    found = builds()
    assert found["torch"] == Build(torch.__version__, torch.version.cuda or "")
    for name in FAMILY:
        assert name not in found or found[name].version.startswith(version(name))


FAKES = {
    "cpu": (
        "__version__ = '9.0.0+cpu'\nfrom typing import Optional\ncuda: Optional[str] = None",
        "",
    ),
    "cuda": ("__version__ = '9.0.0'\ncuda = '13.0'\nhip = None", "13.0"),
    "tag": ("__version__ = '9.0.0+cu126'", "12.6"),
    "rocm": ("__version__ = '9.0.0+rocm6.4'\ncuda = None\nhip: str = '6.4'", None),
    "broken": ("__version__ = ", None),
    "absent": (None, None),
}


@pytest.mark.parametrize("kind", FAKES)
def test_version_files_are_read_and_not_run(kind, tmp_path, monkeypatch):
    text, cuda = FAKES[kind]
    (tmp_path / "torch").mkdir()
    about = tmp_path / "torch-9.0.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.0.0\n")
    if text:
        (tmp_path / "torch" / "version.py").write_text(text + "\nraise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    build = builds()["torch"]
    assert build.version.startswith("9.0.0") and build.cuda == cuda
