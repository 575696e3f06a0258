import numpy as np
import pytest
import soundfile

from xmg.extract.encoders.audio_file import read_audio
from xmg.extract.types import RejectError

RATE = 16_000


def sine(hertz: float, rate: int, seconds: float = 0.5):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def test_integers_scale_to_one_and_channels_are_averaged(tmp_path):
    stereo = np.array([[32767, -32768], [16384, 0], [-32768, -32768]], np.int16)
    soundfile.write(tmp_path / "a.wav", stereo, RATE)
    samples = read_audio(tmp_path / "a.wav", RATE)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, [-0.5 / 32768, 0.25, -1], atol=1e-7)


@pytest.mark.parametrize("native", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_the_tone(tmp_path, native):
    soundfile.write(tmp_path / "a.flac", sine(440, native), native)
    samples = read_audio(tmp_path / "a.flac", RATE)
    assert abs(len(samples) - RATE // 2) <= 1
    middle = slice(1000, 7000)  # away from the edges of the filter
    np.testing.assert_allclose(samples[middle], sine(440, RATE)[middle], atol=1e-3)


def _bytes(path, content: bytes):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not readable audio"),
        (b"this is a text" * 100, "not readable audio: Format not recognised"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not readable audio"),
    ],
)
def test_what_is_no_audio(tmp_path, content, reason):
    with pytest.raises(RejectError, match=reason):
        read_audio(_bytes(tmp_path / "a.wav", content), RATE)


def test_empty_recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    with pytest.raises(RejectError, match="holds no samples"):
        read_audio(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, bad):
    soundfile.write(tmp_path / "a.wav", np.array([0, bad, 0]), RATE, subtype="FLOAT")
    with pytest.raises(RejectError, match="NaN or infinite"):
        read_audio(tmp_path / "a.wav", RATE)


def test_missing_folder_and_wrong_kind(tmp_path):
    with pytest.raises(RejectError, match="cannot open: No such file"):
        read_audio(tmp_path / "a.wav", RATE)
    with pytest.raises(RejectError, match="cannot open: Is a directory"):
        read_audio(tmp_path, RATE)
    with pytest.raises(RejectError, match="expected an audio file, got str"):
        read_audio("a.wav", RATE)
