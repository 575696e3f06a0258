import pytest

from xmg.cache import XmgError
from xmg.extract.spec import make_job, read_spec

GOOD = '[[extract]]\ndata = "a.csv"\nencoder = "char-ngrams"\nout = "a.h5"\n'


@pytest.fixture
def spec(tmp_path):
    """Write a spec in a folder of its own, beside a.csv and b.csv."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("text\nhello\n")

    def made(text):
        (folder / "sets.toml").write_text(text)
        return folder / "sets.toml"

    return made


def test_tables_become_jobs(spec):
    path = spec(
        GOOD + '[[extract]]\ndata = ["a.csv", "b.csv"]\nencoder = "minilm"\nout = "sub/b.h5"\n'
        'weights = "b.csv"\nlayout = "manifest"\ncontent_column = "text"\ndtype = "float32"\n'
        'pooling = "cls"\ndevice = "cpu"\nworkers = 2\nlimit = 9\n'
    )
    folder = path.parent
    first, second = read_spec(path)
    assert first == make_job(data=folder / "a.csv", encoder="char-ngrams", out=folder / "a.h5")
    assert (first.layout, first.dtype, first.limit) == ("auto", "float16", None)
    assert second.data == [folder / "a.csv", folder / "b.csv"]
    assert (second.weights, second.out) == (folder / "b.csv", folder / "sub" / "b.h5")
    assert (second.workers, second.limit, second.pooling) == (2, 9, "cls")


def test_absolute_paths_stay(spec, tmp_path):
    path = spec(GOOD.replace("a.h5", str(tmp_path / "elsewhere.h5")))
    assert read_spec(path)[0].out == tmp_path / "elsewhere.h5"


def test_options_stand_in_for_every_table(spec):
    path = spec(GOOD + "limit = 9\n" + GOOD.replace("a.h5", "b.h5"))
    assert [(job.limit, job.workers) for job in read_spec(path, limit=3, workers=1)] == [(3, 1)] * 2


def test_a_model_folder_is_beside_the_spec(spec):
    path = spec(GOOD.replace("char-ngrams", "hf:model"))
    assert read_spec(path)[0].encoder == "hf:model"  # a name on Hugging Face
    (path.parent / "model").mkdir()
    assert read_spec(path)[0].encoder == f"hf:{path.parent / 'model'}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + 'encodr = "yamnet"', r"table 1: .*'encodr'; the closest is 'encoder'.*fix: one of"),
        (GOOD + '[[extract]]\ndata = "b.csv"\nout = "b.h5"', r"table 2: encoder is missing"),
        (GOOD + 'dtype = "float64"', r"table 1: dtype: .*'float16' or 'float32'"),
        (GOOD + "limit = 0", r"table 1: limit: .*greater than or equal to 1"),
        (GOOD + 'layout = "foldr"', r"table 1: .*'foldr'; the closest is 'folder'"),
        (GOOD.replace('"a.csv"', "[]"), r"table 1: data: .*at least 1"),
        (GOOD.replace('"a.csv"', '["a.csv", 3]'), r"table 1: data\.1: "),
        (GOOD.replace("a.csv", "c.csv"), r"table 1: there is nothing at .*folder/c\.csv\. fix:"),
        (GOOD + 'weights = "w.pth"', r"table 1: there is nothing at .*folder/w\.pth\. fix:"),
        (GOOD + GOOD.replace("char-ngrams", "char-ngram").replace("a.h5", "b.h5"),
         r"table 2: no encoder 'char-ngram'; did you mean char-ngrams"),
        (GOOD + GOOD.replace("a.h5", "../folder/a.h5"), r"tables 1 and 2 both write .*fix: "),
        ('encoder = "yamnet"\n' + GOOD, r"'encoder' outside of tables"),
        ("", r"extract is missing. fix: .*\[\[extract\]\]"),
        ("extract = []", r"extract: .*at least 1"),
        ("extract = [3]", r"table 1: "),
        ("[[extract]", "not a readable TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(spec, text, message):
    path = spec(text)
    with pytest.raises(XmgError, match=message) as error:
        read_spec(path)
    assert str(error.value).startswith(str(path))


def test_a_byte_order_mark_is_no_text(spec):
    path = spec(GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_spec(path)) == 1


def test_a_missing_spec(tmp_path):
    with pytest.raises(XmgError, match="no spec at"):
        read_spec(tmp_path / "none.toml")


def test_an_option_without_sense():
    with pytest.raises(XmgError, match=r"^dtype: .*'float16' or 'float32'"):
        make_job(data=["a"], encoder="yamnet", out="a.h5", dtype="float64")
