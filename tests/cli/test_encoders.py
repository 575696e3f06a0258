from typer.testing import CliRunner

from xmg.cli.main import app
from xmg.extract.encoders import ENCODERS, load_encoder


def test_every_encoder_is_listed():
    printed = CliRunner().invoke(app, ["encoders"]).output
    assert all(f"  {name} " in printed for name in ENCODERS)
    assert "hf:MODEL" in printed and "module:function" in printed


def test_widths_are_those_of_the_encoders():
    from xmg.extract.encoders import PUBLISHED

    for name in ("char-ngrams", "logmel40", "logmel40-stats", "efficientnet-lite0", "minilm"):
        encoder = load_encoder(name)
        assert (PUBLISHED[name].dim, PUBLISHED[name].modality) == (encoder.dim, encoder.modality)


def test_missing_packages_are_told(monkeypatch):
    monkeypatch.setattr("xmg.cli.encoders.find_spec", lambda name: None if name == "soxr" else 1)
    printed = CliRunner().invoke(app, ["encoders"]).output
    assert "encoders of audio need: pip install 'xmg[audio]'" in printed
    assert "encoders of image need" not in printed
