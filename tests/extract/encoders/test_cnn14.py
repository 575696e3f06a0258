import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional

from xmg.cache import XmgError
from xmg.extract.encoders import cnn14

CHANNELS = (1, 64, 128, 256, 512, 1024, 2048)


def normalisation(name, n, rng):
    return {
        f"{name}.weight": rng.random(n, np.float32) + 0.5,
        f"{name}.bias": rng.normal(0, 0.1, n),
        f"{name}.running_mean": rng.normal(0, 0.1, n),
        f"{name}.running_var": rng.random(n, np.float32) + 0.5,
    }


def random_state():
    """Every tensor of the published checkpoint, with its real Fourier matrices."""
    rng = np.random.default_rng(0)
    window = np.sin(np.pi * np.arange(1024) / 1024) ** 2  # periodic Hann
    angle = 2 * np.pi * np.outer(np.arange(513), np.arange(1024)) / 1024
    stft = "spectrogram_extractor.stft"
    state = {
        f"{stft}.conv_real.weight": (np.cos(angle) * window)[:, None],
        f"{stft}.conv_imag.weight": (-np.sin(angle) * window)[:, None],
        "logmel_extractor.melW": rng.random((513, 64)),
        **normalisation("bn0", 64, rng),
    }
    for block in range(1, 7):
        n_in, n_out = CHANNELS[block - 1 : block + 1]
        for layer, n in ((1, n_in), (2, n_out)):
            scale = np.float32((2 / (9 * n)) ** 0.5)
            kernel = rng.standard_normal((n_out, n, 3, 3), np.float32) * scale
            state[f"conv_block{block}.conv{layer}.weight"] = kernel
            state |= normalisation(f"conv_block{block}.bn{layer}", n_out, rng)
    for name, n_out in (("fc1", 2048), ("fc_audioset", 527)):
        state[f"{name}.weight"] = rng.standard_normal((n_out, 2048), np.float32) * np.float32(0.02)
        state[f"{name}.bias"] = rng.normal(0, 0.1, n_out)
    tensors = {name: torch.from_numpy(np.asarray(v, np.float32)) for name, v in state.items()}
    counters = [name.replace("weight", "num_batches_tracked") for name in tensors if "bn" in name]
    return tensors | {n: torch.tensor(1) for n in counters if n.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    state = random_state()
    file = tmp_path_factory.mktemp("cnn14") / "cnn14.pth"
    torch.save({"iteration": 600_000, "model": state}, file)
    return file, state


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return cnn14.load(weights=checkpoint[0], device="cpu")


def decibels(samples, mel):
    """10 log10 max(|STFT|^2 melW, 1e-10) by NumPy: (n,) to (T, 64)."""
    padded = np.pad(samples.astype(np.float64), 512, mode="reflect")
    window = np.sin(np.pi * np.arange(1024) / 1024) ** 2
    starts = range(0, len(padded) - 1023, 320)
    frames = np.stack([padded[i : i + 1024] * window for i in starts])
    power = np.abs(np.fft.rfft(frames)) ** 2
    return 10 * np.log10(np.maximum(power @ mel.numpy(), 1e-10))


def embedding(samples, state):
    """The published forward pass, spelt out for one recording: (n,) to (2048,)."""

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{name}.{key}"][:, None, None] for key in keys)
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = torch.from_numpy(decibels(samples, state["logmel_extractor.melW"])).float()  # (T, 64)
    x = norm(x.T[:, :, None], "bn0").permute(2, 1, 0)  # (1, T, 64)
    for block in range(1, 7):
        for layer in (1, 2):
            kernel = state[f"conv_block{block}.conv{layer}.weight"]
            x = functional.conv2d(x[None], kernel, padding=1)[0]
            x = norm(x, f"conv_block{block}.bn{layer}").clamp_min(0)
        if block < 6:
            t, f = x.shape[1] // 2, x.shape[2] // 2
            x = x[:, : 2 * t, : 2 * f].reshape(len(x), t, 2, f, 2).mean((2, 4))
    x = x.mean(2)
    x = x.max(1).values + x.mean(1)
    return (state["fc1.weight"] @ x + state["fc1.bias"]).clamp_min(0)


def test_spectrogram_and_embedding(encoder, checkpoint):
    state = checkpoint[1]
    samples = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)
    with torch.inference_mode():
        ours = encoder.model.log_mel(torch.from_numpy(samples)[None])[0, 0]
    assert ours.shape == (101, 64)
    np.testing.assert_allclose(ours, decibels(samples, state["logmel_extractor.melW"]), atol=1e-3)
    expected = embedding(samples, state)
    assert (expected > 0).float().mean() > 0.2
    np.testing.assert_allclose(encoder.encode([samples])[0], expected, rtol=1e-2, atol=1e-3)


def test_a_clip_does_not_depend_on_its_batch(encoder):
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=n).astype(np.float32) for n in (10_000, 5, 12_000, 10_000)]
    together = encoder.encode(clips)
    assert together.shape == (4, 2048)
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_allclose(row, encoder.encode([clip])[0], rtol=1e-3, atol=1e-4)


def test_long_recordings_are_cut_and_short_ones_padded():
    cuts = cnn14.cut_up(np.ones(2 * 30 * 32_000 + 7, np.float32))
    assert [len(cut) for cut in cuts] == [960_000, 960_000, 9_920]
    assert cuts[2].sum() == 7


def test_a_long_recording_is_the_mean_of_its_cuts(encoder, monkeypatch):
    monkeypatch.setattr(cnn14, "_LONGEST", 10_000)
    clip = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    halves = encoder.encode([clip[:10_000], clip[10_000:]])
    np.testing.assert_allclose(encoder.encode([clip])[0], halves.mean(0), rtol=1e-4, atol=1e-5)


def test_decoding(encoder, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    assert encoder.decode(tmp_path / "a.wav").shape == (32_000,)


def test_a_checkpoint_with_a_tensor_missing(checkpoint, tmp_path):
    state = {name: tensor for name, tensor in checkpoint[1].items() if name != "fc1.bias"}
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(XmgError, match=r"does not fit this encoder: Missing key.*fc1\.bias"):
        cnn14.load(weights=tmp_path / "w.pth")
