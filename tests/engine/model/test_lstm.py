"""LSTM heads on sequences: PyTorch's own LSTM, padding, and whole runs."""

import numpy as np
import pytest
import synthetic
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from xmg.cache import XmgError
from xmg.engine.data.fetch import fetch
from xmg.engine.meta_test import WITHOUT_PAIRS, evaluate_run
from xmg.engine.model.heads import project
from xmg.engine.model.lstm import LSTM
from xmg.engine.run import read_metrics
from xmg.engine.systems import CLOSED_FORM
from xmg.engine.train import meta_train

HEADS = [LSTM(5), LSTM(5, n_layers=2), LSTM(5, bidirectional=True), LSTM(3, 2, bidirectional=True)]
LENGTHS = [6, 1, 4]


def frames(d=4, seed=0):
    """Padded sequences with their marks; what lies in the padding must not matter."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(len(LENGTHS), max(LENGTHS), d, generator=rng, dtype=torch.float64)
    mark = torch.tensor([[t < n for t in range(max(LENGTHS))] for n in LENGTHS]).double()
    return torch.cat([x * mark[..., None], mark[..., None]], -1)


def begun(head, d=4, width=3):
    rng = torch.Generator().manual_seed(1)
    return head.begin("target", torch.zeros(d + 1, width, dtype=torch.float64), rng)


def theirs(head, theta, x):
    """torch.nn.LSTM with the same weights, on packed sequences."""
    net = torch.nn.LSTM(
        x.shape[-1] - 1, head.hidden, head.n_layers, batch_first=True,
        bidirectional=head.bidirectional, dtype=x.dtype,
    )  # fmt: skip
    with torch.no_grad():
        for k in range(head.n_layers):
            into = theta[f"target.in{k}"] if k else theta["target"][:-1]
            bias = theta[f"target.bias{k}"] if k else theta["target"][-1]
            for way, end in enumerate(["", "_reverse"][: head.n_ways]):
                part = slice(4 * head.hidden * way, 4 * head.hidden * (way + 1))
                getattr(net, f"weight_ih_l{k}{end}").copy_(into[:, part].T)
                getattr(net, f"weight_hh_l{k}{end}").copy_(theta[f"target.state{k}"][way].T)
                getattr(net, f"bias_ih_l{k}{end}").copy_(bias[part])
                getattr(net, f"bias_hh_l{k}{end}").zero_()
        packed = pack_padded_sequence(x[..., :-1], LENGTHS, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(net(packed)[0], batch_first=True, padding_value=-torch.inf)
        return states.amax(1) @ theta["target.out"] + theta["target.out_bias"]


@pytest.mark.parametrize("head", HEADS)
def test_it_is_torchs_lstm(head):
    x, theta = frames(), begun(head)
    assert_close(project(head, theta, "target", x), theirs(head, theta, x))
    assert set(head.learns("target")) == theta.keys()


@pytest.mark.parametrize("head", HEADS)
def test_more_padding_changes_nothing(head):
    x, theta = frames(), begun(head)
    longer = torch.cat([x, torch.zeros(3, 4, 5, dtype=x.dtype)], 1)
    assert_close(project(head, theta, "target", longer), project(head, theta, "target", x))


@pytest.mark.parametrize("head", HEADS)
def test_stacked_tasks_are_projected_as_each_alone(head):
    x, tasks = torch.stack([frames(seed=s) for s in (0, 1)]), [begun(head), begun(head)]
    tasks[1] = {name: 2 * value for name, value in tasks[1].items()}
    stacked = {name: torch.stack([task[name] for task in tasks]) for name in tasks[0]}
    alone = [project(head, task, "target", x[i]) for i, task in enumerate(tasks)]
    assert_close(project(head, stacked, "target", x), torch.stack(alone))


def test_an_empty_sequence_is_no_nan():
    x, head = frames(), LSTM(4)
    x[1] = 0
    theta = begun(head)
    y = project(head, {n: v.requires_grad_() for n, v in theta.items()}, "target", x)
    y.sum().backward()
    assert y.isfinite().all() and theta["target"].grad.isfinite().all()


def write(path, n_classes=9, per_class=10, d=3, seed=0, longest=7):
    """Classes differ in the order of what happens, which no mean of frames shows."""
    rng = np.random.default_rng(seed)
    labels = synthetic.names(n_classes, per_class)
    means = rng.normal(size=(n_classes, 2, d))
    sequences = []
    for label in labels:
        n = rng.integers(3, longest + 1)
        place = np.arange(n) * 2 // n
        sequences.append(
            (means[int(label[1:])][place] + 0.1 * rng.normal(size=(n, d))).astype("f4")
        )
    return synthetic.write(path, sequences, labels, sequences=True)


def test_sequences_are_fetched_padded_and_marked(tmp_path):
    file = write(tmp_path / "x.h5", longest=5)
    rows = np.array([[3, 0], [8, 3]])
    x = fetch(file, rows)
    assert x.shape == (2, 2, 5, 4)
    for place in np.ndindex(2, 2):
        (own,) = file.take(rows[place][None])
        assert_close(x[place][: len(own), :-1], torch.from_numpy(own.copy()))
        assert x[place][:, -1].tolist() == [1.0] * len(own) + [0.0] * (5 - len(own))


def test_long_sequences_keep_frames_from_end_to_end(tmp_path):
    long = np.arange(1000, dtype="f4")[:, None]
    file = synthetic.write(tmp_path / "x.h5", [long, long[:3]], ["a", "b"], sequences=True)
    x = fetch(file, np.array([0, 1]))
    assert x.shape == (2, 128, 2) and x[0, :, 1].all() and x[1, :, 1].sum() == 3
    steps = np.diff(x[0, :, 0].numpy())
    assert x[0, 0, 0] == 0 and x[0, -1, 0] >= 990 and set(steps) <= {7.0, 8.0}


SETTINGS = [
    {"head": "lstm"},
    {"head": "lstm", "solver": "batched", "meta_batch": 2},
    {"source_head": "linear", "target_head": "lstm"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_run_on_sequences(tmp_path, settings):
    target = write(tmp_path / "t.h5", seed=1)
    source = write(tmp_path / "s.h5", seed=2)
    if settings.get("source_head") == "linear":
        rng = np.random.default_rng(0)
        labels = synthetic.names(9, 10)
        rows = rng.normal(size=(90, 4)).astype("f4")
        source = synthetic.write(tmp_path / "v.h5", rows, labels)
    config = synthetic.config_of(
        source, target, iterations=4, validate_every=2, inner_steps=2, k_pairs=1, width=6,
        hidden=4, n_negatives=3, k_shot=2, **settings,
    )  # fmt: skip
    state = meta_train(config, tmp_path / "run")
    assert state.fronts.target.frames
    assert {r.system for r in evaluate_run(tmp_path / "run")} == {
        *(CLOSED_FORM[name].title for name in WITHOUT_PAIRS), "CROMA",
    }  # fmt: skip
    solver = settings.get("solver", "reference")
    assert read_metrics(tmp_path / "run")[-1]["solvers"]["align"] == solver


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "holds sequences.*linear head.*source_head = 'lstm'"),
        ({"head": "lstm", "target_head": "mlp"}, "holds sequences.*target_head = 'lstm'"),
        ({"head": "lstm", "solver": "direct"}, "solver = 'direct' is not for lstm"),
    ],
)
def test_a_head_must_fit_its_modality(tmp_path, settings, message):
    files = [write(tmp_path / f"{side}.h5") for side in "st"]
    with pytest.raises(XmgError, match=f"(?s){message}"):
        meta_train(synthetic.config_of(*files, **settings), tmp_path / "run")


def test_an_lstm_needs_sequences(tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)
    with pytest.raises(XmgError, match=r"holds one vector per sample.*source_head = 'linear'"):
        meta_train(synthetic.config_of(*files, head="lstm"), tmp_path / "run")
