"""Models of any kind, saved as a download leaves them, against transformers itself."""

import json
import sys

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModel,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    HubertConfig,
    HubertModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)  # fmt: skip

from xmg.cache import XmgError
from xmg.extract.encoders import load_encoder

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip
WAVES = {"conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (5, 4),
         "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16,
         "num_conv_pos_embedding_groups": 2}  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(40))]


def saved(folder, model, *processors):
    for part in (model, *processors):
        part.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((40, 60), (90, 33), (32, 32))]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("clips")
    for i, n in enumerate((8_000, 16_000, 8_000)):
        soundfile.write(path / f"{i}.wav", rng.normal(0, 0.1, n), 16_000, subtype="FLOAT")
    return [path / f"{i}.wav" for i in range(3)]


def encoded(encoder, contents):
    return encoder.encode([encoder.decode(content) for content in contents])


def one_by_one(model, processor, photos, **options):
    inputs = [processor(images=Image.fromarray(p), return_tensors="pt") for p in photos]
    with torch.inference_mode():
        return [model(**each, **options) for each in inputs]


PIXELS = {"height": 32, "width": 32}


@pytest.mark.parametrize("pooling", [None, "cls", "mean"])
def test_vit(tmp_path, photos, pooling):
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8)).eval()
    processor = ViTImageProcessor(size=PIXELS)
    folder = saved(tmp_path / "a-vit", model, processor)
    encoder = load_encoder(f"hf:{folder}", pooling=pooling, device="cpu")
    outputs = one_by_one(model, processor, photos)
    expected = {
        None: lambda o: o.pooler_output[0],
        "cls": lambda o: o.last_hidden_state[0, 0],
        "mean": lambda o: o.last_hidden_state[0].mean(0),
    }[pooling]
    found = encoded(encoder, photos)
    assert (encoder.name, encoder.modality, encoder.dim) == ("a-vit", "image", 32)
    np.testing.assert_allclose(found, [expected(o) for o in outputs], rtol=1e-4, atol=1e-5)


def test_a_copy_of_the_hub_serves_without_a_network(tmp_path, photos, monkeypatch):
    """As huggingface_hub lays models out: snapshots by commit, and what `main` was last."""
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8)).eval()
    kept = tmp_path / "models--someone--tiny"
    saved(kept / "snapshots" / ("a" * 40), model, ViTImageProcessor(size=PIXELS))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.file_download.get_hf_file_metadata", lambda url, **_: asked.append(url)
    )
    encoder = load_encoder("hf:someone/tiny", device="cpu")
    expected = [
        o.pooler_output[0] for o in one_by_one(model, ViTImageProcessor(size=PIXELS), photos)
    ]
    np.testing.assert_allclose(encoded(encoder, photos), expected, rtol=1e-4, atol=1e-5)
    assert not asked


def test_a_pooler_that_was_not_trained_is_left_out(tmp_path, photos):
    """The file holds none, so transformers would make up a random one."""
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8), add_pooling_layer=False)
    folder = saved(tmp_path, model.eval(), ViTImageProcessor(size=PIXELS))
    encoders = [load_encoder(f"hf:{folder}", device="cpu") for _ in range(2)]
    assert encoders[0].preprocessing["pooling"] == "mean"
    assert encoders[0].weights_sha256 == encoders[1].weights_sha256
    with pytest.raises(XmgError, match="no trained pooler"):
        load_encoder(f"hf:{folder}", pooling="pooler", device="cpu")


def test_layers_and_poolings_stand_side_by_side(tmp_path, photos):
    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(**{**SMALL, "image_size": 28, "patch_size": 7})).eval()
    processor = ViTImageProcessor(size={"height": 28, "width": 28})
    folder = saved(tmp_path, model, processor)
    encoder = load_encoder(f"hf:{folder}", layers="1,3", pooling="mean,cls", device="cpu")
    states = [
        o.hidden_states for o in one_by_one(model, processor, photos, output_hidden_states=True)
    ]
    expected = [
        np.concatenate([p for i in (1, 3) for p in (s[i][0].mean(0), s[i][0, 0])]) for s in states
    ]
    np.testing.assert_allclose(encoded(encoder, photos), expected, rtol=1e-4, atol=1e-5)
    assert encoder.dim == 128
    assert encoder.preprocessing["parts"] == {
        "layer 1 mean": 32, "layer 1 cls": 32, "layer 3 mean": 32, "layer 3 cls": 32
    }  # fmt: skip
    with pytest.raises(XmgError, match=r"no layer 9\. fix: --layers 0 to 3"):
        load_encoder(f"hf:{folder}", layers="9", device="cpu")


def test_maps_of_a_convolutional_network(tmp_path, photos):
    torch.manual_seed(0)
    config = ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], image_size=64)
    model = ConvNextModel(config).eval()
    processor = ConvNextImageProcessor(size={"shortest_edge": 64})
    folder = saved(tmp_path, model, processor)
    encoder = load_encoder(f"hf:{folder}", layers="2,4", device="cpu")
    outputs = one_by_one(model, processor, photos, output_hidden_states=True)
    expected = [
        np.concatenate([o.hidden_states[i][0].mean((1, 2)) for i in (2, 4)]) for o in outputs
    ]
    np.testing.assert_allclose(encoded(encoder, photos), expected, rtol=1e-4, atol=1e-5)


def test_either_half_of_clip(tmp_path, photos):
    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 20}
    config = CLIPConfig(
        text_config={**text, "bos_token_id": 2, "eos_token_id": 3},
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
    )
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=PIXELS)
    folder = saved(tmp_path, CLIPModel(config).eval(), processor)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(XmgError, match=r"reads \w+ and \w+\. fix: add --modality"):
        load_encoder(f"hf:{folder}", device="cpu")
    sees = load_encoder(f"hf:{folder}", modality="image", pooling="cls", device="cpu")
    reads = load_encoder(f"hf:{folder}", modality="text", device="cpu")
    outputs = one_by_one(CLIPVisionModel.from_pretrained(folder).eval(), processor, photos)
    expected = [o.last_hidden_state[0, 0] for o in outputs]
    np.testing.assert_allclose(encoded(sees, photos), expected, rtol=1e-4, atol=1e-5)
    ids = torch.tensor([[2, WORDS.index("w1"), WORDS.index("w9"), 3]])
    with torch.inference_mode():
        hidden = CLIPTextModel.from_pretrained(folder).eval()(ids).last_hidden_state[0]
    np.testing.assert_allclose(encoded(reads, ["w1 w9"])[0], hidden.mean(0), rtol=1e-4, atol=1e-5)
    with pytest.raises(XmgError, match="not audio"):
        load_encoder(f"hf:{folder}", modality="audio")


@pytest.mark.parametrize("kind", [(Wav2Vec2Config, Wav2Vec2Model), (HubertConfig, HubertModel)])
def test_models_of_waveforms(tmp_path, clips, kind):
    torch.manual_seed(0)
    model = kind[1](kind[0](**SMALL, **WAVES)).eval()
    extractor = Wav2Vec2FeatureExtractor()
    folder = saved(tmp_path, model, extractor)
    encoder = load_encoder(f"hf:{folder}", device="cpu")
    frames = load_encoder(f"hf:{folder}", pooling="none", device="cpu")
    pooled, sequences = encoded(encoder, clips), encoded(frames, clips)
    for clip, row, frame in zip(clips, pooled, sequences, strict=True):
        inputs = extractor(soundfile.read(clip)[0], sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(inputs["input_values"]).last_hidden_state[0]
        np.testing.assert_allclose(row, hidden.mean(0), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(frame, hidden, rtol=1e-3, atol=1e-4)
    assert frames.sequences and not encoder.sequences


def test_a_long_waveform_is_cut_and_averaged(tmp_path):
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config(**SMALL, **WAVES)).eval()
    folder = saved(tmp_path, model, Wav2Vec2FeatureExtractor())
    wave = np.random.default_rng(0).normal(0, 0.1, 35 * 16_000).astype(np.float32)
    for name, part in (("whole", wave), ("a", wave[: 30 * 16_000]), ("b", wave[30 * 16_000 :])):
        soundfile.write(tmp_path / f"{name}.wav", part, 16_000, subtype="FLOAT")
    encoder = load_encoder(f"hf:{folder}", device="cpu")
    whole, a, b = encoded(encoder, [tmp_path / f"{name}.wav" for name in ("whole", "a", "b")])
    np.testing.assert_allclose(whole, (a + b) / 2, rtol=1e-3, atol=1e-4)


def test_whisper_leaves_padding_out(tmp_path, clips):
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=50,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        max_source_positions=100, num_mel_bins=80,
    )  # fmt: skip
    model, extractor = WhisperModel(config).eval(), WhisperFeatureExtractor(chunk_length=2)
    folder = saved(tmp_path, model, extractor)
    encoder = load_encoder(f"hf:{folder}", device="cpu")
    for clip, row in zip(clips, encoded(encoder, clips), strict=True):
        samples = soundfile.read(clip)[0]
        inputs = extractor(samples, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            hidden = model.get_encoder()(inputs["input_features"]).last_hidden_state[0]
        heard = hidden[: round(100 * len(samples) / 32_000)]
        np.testing.assert_allclose(row, heard.mean(0), rtol=1e-3, atol=1e-4)


def test_token_states_of_a_text(tmp_path):
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SMALL, vocab_size=len(WORDS), max_position_embeddings=16))
    folder = saved(tmp_path, model.eval())
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    encoder = load_encoder(f"hf:{folder}", pooling="none", layers="2", device="cpu")
    found = encoded(encoder, ["w1 w2 w3", "w4"])
    for row, words in zip(found, ([2, 6, 7, 8, 3], [2, 9, 3]), strict=True):
        with torch.inference_mode():
            states = model(torch.tensor([words]), output_hidden_states=True).hidden_states[2][0]
        np.testing.assert_allclose(row, states, rtol=1e-4, atol=1e-5)


def test_what_cannot_stand_side_by_side(tmp_path):
    for options, message in (
        ({"pooling": "none,mean"}, "cannot stand side by side"),
        ({"pooling": "mean,mean"}, "--pooling names one twice"),
        ({"layers": "1,two"}, "'1,two' are no layers. fix: "),
        ({"layers": "1", "pooling": "pooler"}, "of the last layer"),
        ({"pooling": "max"}, "no pooling 'max'. fix: one of mean, cls, pooler, none"),
    ):
        with pytest.raises(XmgError, match=message):
            load_encoder("bert-base-uncased", weights=tmp_path, **options)


def test_a_model_of_no_known_kind(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "xlm-prophetnet-of-mars"}')
    with pytest.raises(XmgError, match="cannot load the Hugging Face model"):
        load_encoder(f"hf:{tmp_path}")


OWN_CODE = """
from pathlib import Path
from transformers import BertConfig, BertModel
Path({ran!r}).touch()
class OwnConfig(BertConfig): model_type = "own-bert"
class OwnModel(BertModel): config_class = OwnConfig
"""


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """A model with code of its own, as a hub keeps it, which leaves a file where it runs."""
    folder, ran = tmp_path / "model", tmp_path / "ran"
    model = BertModel(BertConfig(**SMALL, vocab_size=len(WORDS), max_position_embeddings=16))
    saved(folder, model.eval())
    (folder / "own_code.py").write_text(OWN_CODE.format(ran=str(ran)))
    config = json.loads((folder / "config.json").read_text())
    code = {"AutoConfig": "own_code.OwnConfig", "AutoModel": "own_code.OwnModel"}
    config |= {"model_type": "own-bert", "architectures": ["OwnModel"], "auto_map": code}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", tmp_path / "cache")
    monkeypatch.setattr(sys, "path", [*sys.path])
    return f"hf:{folder}", ran, model


def test_code_that_a_model_brings_does_not_run(own_code):
    name, ran, _ = own_code
    for options in ({}, {"modality": "text"}, {"trust_remote_code": False}):
        with pytest.raises(XmgError, match=r"brings code of its own.* --trust-remote-code --modal"):
            load_encoder(name, **options)
    assert not ran.exists()


def test_code_that_is_trusted_runs(own_code):
    name, ran, model = own_code
    with pytest.raises(XmgError, match=r"does not say what it reads\. fix: --modality text"):
        load_encoder(name, trust_remote_code=True)
    encoder = load_encoder(name, trust_remote_code=True, modality="text", device="cpu")
    assert ran.exists()
    with torch.inference_mode():
        states = model(torch.tensor([[2, 6, 7, 3]])).last_hidden_state[0]
    np.testing.assert_allclose(encoded(encoder, ["w1 w2"])[0], states.mean(0), rtol=1e-4, atol=1e-5)
