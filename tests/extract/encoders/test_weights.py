import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xmg.cache import XmgError
from xmg.extract.encoders.weights import digest, fill, find_weights, load_state


@pytest.fixture
def state():
    return {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor([1, 2])}


@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_both_formats(tmp_path, state, key):
    save_file(state, tmp_path / "w.safetensors")
    torch.save({key: state, "iteration": 7} if key else state, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        loaded = load_state(tmp_path / name)
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[k], state[k]) for k in state)


def test_digest_by_hand(state):
    a = b"a torch.int64 (2,)\n" + np.array([1, 2], "<i8").tobytes()
    b = b"b torch.float32 (2, 3)\n" + np.arange(6, dtype="<f4").tobytes()
    assert digest(state) == hashlib.sha256(a + b).hexdigest()
    assert digest({"b": state["b"].T.contiguous().T, "a": state["a"]}) == digest(state)
    assert digest({**state, "s": torch.tensor(1.0, dtype=torch.bfloat16)}) != digest(state)


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_code_in_weights_is_not_run(tmp_path):
    torch.save({"a": torch.ones(1), "b": Malicious(tmp_path / "pwned")}, tmp_path / "w.pth")
    (tmp_path / "v.pth").write_bytes(pickle.dumps(Malicious(tmp_path / "pwned"), 2))
    for name in ("w.pth", "v.pth"):
        with pytest.raises(XmgError, match="not a readable weights file"):
            load_state(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged(tmp_path, name):
    with pytest.raises(XmgError, match="no weights at"):
        load_state(tmp_path / name)
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(XmgError, match="not a readable weights file"):
        load_state(tmp_path / name)


def test_no_state_dict(tmp_path):
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(XmgError, match="holds no state dict"):
        load_state(tmp_path / "w.pth")


def test_weights_of_another_network(tmp_path, state):
    with pytest.raises(XmgError, match=r"w\.pth does not fit this encoder: Missing key"):
        fill(nn.Linear(3, 2), state, "w.pth")


def test_where_weights_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XMG_WEIGHTS", str(tmp_path / "kept"))
    home = tmp_path / "home/.cache/xmg/weights"
    file = "yamnet.safetensors"
    with pytest.raises(
        XmgError, match=f"{tmp_path}/kept/{file}, {home}/{file}.\nfix: --weights FILE"
    ):
        find_weights("yamnet", None)
    with pytest.raises(XmgError, match=r"looked at elsewhere\.pth"):
        find_weights("yamnet", "elsewhere.pth")
    for folder in (home, tmp_path / "kept"):
        folder.mkdir(parents=True)
        (folder / file).touch()
        assert find_weights("yamnet", None) == folder / file


def test_a_user_without_a_home_is_told_of_the_option(tmp_path, monkeypatch):
    """As in a container that is given any number for its user."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.setenv("XMG_WEIGHTS", str(tmp_path))
    with pytest.raises(
        XmgError, match=f"{tmp_path}/yamnet.safetensors, ~/.cache/.*\nfix: --weights FILE"
    ):
        find_weights("yamnet", None)
