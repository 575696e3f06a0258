import struct

import numpy as np
import pytest
import soundfile
import soxr

from xmg.extract.encoders import audio_file
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


@pytest.mark.parametrize(
    ("subtype", "step"),
    [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-24),
     ("FLOAT", 0), ("DOUBLE", 2**-24)],
)  # fmt: skip
def test_depths(tmp_path, subtype, step):
    """Every depth holds the same values, each within its step."""
    values = np.array([0, 0.5, -0.5, 0.123456789, -1, 0.99], np.float32)
    soundfile.write(tmp_path / "a.wav", values, RATE, subtype=subtype)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", RATE), values, rtol=0, atol=step)


def test_8_bit_bytes_by_hand(tmp_path):
    """A WAV byte by byte: 128 is silence."""
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE, 1, 8)
    body = b"WAVE" + form + b"data" + struct.pack("<I", 4) + bytes([128, 0, 255, 192])
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", RATE), [0, -1, 127 / 128, 0.5])


def test_values_beyond_one_are_kept(tmp_path):
    values = np.array([2.5, -3, 0.25], np.float32)
    soundfile.write(tmp_path / "a.wav", values, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", RATE), values)


def test_six_channels(tmp_path):
    channels = np.arange(60).reshape(10, 6) / 64
    soundfile.write(tmp_path / "a.wav", channels, RATE)
    found = read_audio(tmp_path / "a.wav", RATE)
    np.testing.assert_allclose(found, (np.arange(10) * 6 + 2.5) / 64, atol=1e-7)


def test_silence_is_zeros(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(44_100), 44_100)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac", RATE), np.zeros(RATE))


def test_one_sample(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", RATE), [0.5])
    soundfile.write(tmp_path / "b.wav", np.array([0.5]), 48_000)
    with pytest.raises(RejectError, match="shorter than one sample at 16000 Hz"):
        read_audio(tmp_path / "b.wav", RATE)


@pytest.mark.parametrize("native", [8_000, 44_100, 96_000])
def test_blocks_are_resampled_as_one(tmp_path, monkeypatch, native):
    noise = np.random.default_rng(0).integers(-(2**15), 2**15, (9_999, 2), np.int16)
    soundfile.write(tmp_path / "a.wav", noise, native)
    monkeypatch.setattr(audio_file, "_BLOCK", 2 * 777)
    mono = (noise / np.float32(2**15)).mean(axis=1, dtype=np.float32)
    whole = soxr.resample(mono, native, RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", RATE), whole)


@pytest.mark.parametrize("native", [8_000, 22_050, 44_100, 48_000, 96_000])
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


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("wav", "FLOAT"), ("w64", "PCM_16"), ("rf64", "PCM_16"), ("aiff", "PCM_16"),
     ("au", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("ogg", "OPUS")],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.4, 0.97])
def test_cut_off(tmp_path, suffix, subtype, share):
    file = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE)
    soundfile.write(file, noise, RATE, subtype)
    assert len(read_audio(file, RATE)) == 5 * RATE
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(RejectError, match=r"cut off|not readable audio"):
        read_audio(file, RATE)


def test_an_mp3_does_not_know_its_length(tmp_path):
    soundfile.write(tmp_path / "a.mp3", sine(440, RATE, 5), RATE)
    whole = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "b.mp3").write_bytes(whole[: len(whole) // 2])
    found = read_audio(tmp_path / "b.mp3", RATE)
    assert 2 * RATE < len(found) < 3 * RATE
    np.testing.assert_allclose(found[2000:30000], sine(440, RATE, 5)[2000:30000], atol=0.02)


@pytest.mark.parametrize("promise", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path, promise):
    """So write ffmpeg, sox and arecord where they cannot go back to the header."""
    soundfile.write(tmp_path / "a.wav", np.full(1000, 0.25), RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", promise)
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", RATE), np.full(1000, 0.25))


def test_a_small_file_of_long_silence(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 8_000, 1) as sound:
        for _ in range(61):
            sound.write(np.zeros(60 * 8_000, np.int16))
    assert (tmp_path / "a.flac").stat().st_size < 200_000
    with pytest.raises(RejectError, match="longer than 60 minutes; cut it into parts"):
        read_audio(tmp_path / "a.flac", RATE)


@pytest.mark.parametrize(
    ("total", "reason"),
    [(0, "does not say how long it is"), (2**36 - 1, "longer than 60"), (5000, "not readable|cut")],
)
def test_a_flac_that_lies_about_its_length(tmp_path, total, reason):
    soundfile.write(tmp_path / "a.flac", sine(440, RATE, 0.1), RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] = content[21] & 0xF0 | total >> 32  # 36 bits of STREAMINFO
    content[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(RejectError, match=reason):
        read_audio(tmp_path / "a.flac", RATE)


@pytest.mark.parametrize("native", [1, 999, 2**31 - 1])
def test_rates_of_damaged_headers(tmp_path, native):
    """4,000 samples at 1 Hz would become 64 million."""
    soundfile.write(tmp_path / "a.wav", np.zeros(4000), native)
    with pytest.raises(RejectError, match=f"a sampling rate of {native} Hz"):
        read_audio(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, bad):
    soundfile.write(tmp_path / "a.wav", np.array([0, bad, 0]), RATE, subtype="FLOAT")
    with pytest.raises(RejectError, match="NaN or infinite"):
        read_audio(tmp_path / "a.wav", RATE)


def test_channels_that_overflow_together(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full((9, 2), 3e38), RATE, subtype="FLOAT")
    with pytest.raises(RejectError, match="NaN or infinite"):
        read_audio(tmp_path / "a.wav", RATE)


def test_missing_folder_and_wrong_kind(tmp_path):
    with pytest.raises(RejectError, match="cannot open: No such file"):
        read_audio(tmp_path / "a.wav", RATE)
    with pytest.raises(RejectError, match="cannot open: Is a directory"):
        read_audio(tmp_path, RATE)
    with pytest.raises(RejectError, match="expected an audio file, got str"):
        read_audio("a.wav", RATE)
