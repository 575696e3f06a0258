"""Log-mel frames against their definition, and the statistics against NumPy."""

import numpy as np
import numpy.testing as npt
import pytest
import soundfile

from xmg.extract.encoders.speech import frame_statistics, load, log_mel

RATE, WINDOW, HOP, N_FFT = 16_000, 400, 160, 512


def naive_log_mel(samples):
    """Frame by frame with numpy's FFT; triangles from the HTK formula."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    left = (N_FFT - WINDOW) // 2
    window = np.pad(hann, (left, N_FFT - WINDOW - left))
    padded = np.pad(samples.astype(float), N_FFT // 2)
    frames = [padded[i : i + N_FFT] * window for i in range(0, len(padded) - N_FFT + 1, HOP)]
    power = np.abs(np.fft.rfft(frames)) ** 2
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), 42)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, N_FFT // 2 + 1)
    bank = [np.interp(hertz, edges[i : i + 3], [0, 1, 0]) for i in range(40)]
    return np.log(np.maximum(power @ np.transpose(bank), 1e-6))


@pytest.mark.parametrize("n", [1, 159, 160, 5000])
def test_log_mel(n):
    samples = np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32)
    frames = log_mel(samples)
    assert frames.shape == (1 + n // HOP, 40)
    npt.assert_allclose(frames, naive_log_mel(samples), atol=2e-3)


def test_a_louder_recording_shifts_every_loud_band():
    samples = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    shift = log_mel(10 * samples) - log_mel(samples)
    npt.assert_allclose(shift[5:-5], np.log(100), atol=1e-2)


def test_frame_statistics():
    frames = np.random.default_rng(1).normal(size=(50, 40)).astype(np.float32)
    found = frame_statistics(frames)
    npt.assert_allclose(found[:40], frames.mean(0), atol=1e-5)
    npt.assert_allclose(found[40:80], frames.std(0), atol=1e-5)
    npt.assert_allclose(found[80:], np.corrcoef(frames.T)[np.triu_indices(40, 1)], atol=1e-5)


def test_a_constant_band_correlates_with_nothing():
    frames = np.random.default_rng(1).normal(size=(50, 40)).astype(np.float32)
    frames[:, 3] = -13.8
    found = frame_statistics(frames)
    assert np.isfinite(found).all()
    npt.assert_allclose(found[80:][[i for i, p in enumerate(pairs()) if 3 in p]], 0, atol=1e-4)


def pairs():
    return [(i, j) for i in range(40) for j in range(i + 1, 40)]


def test_both_encoders_read_a_file(tmp_path):
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.sin(np.arange(22_050) * 0.1), 22_050)
    frames, statistics = load("logmel40"), load("logmel40-stats")
    (rows,) = frames.encode([frames.decode(path)])
    (row,) = statistics.encode([statistics.decode(path)])
    assert rows.shape == (101, frames.dim) and frames.sequences
    assert row.shape == (statistics.dim,) and not statistics.sequences
    npt.assert_allclose(row[:40], rows.mean(0), atol=1e-5)
