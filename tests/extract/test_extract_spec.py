import pytest

from xmg.cache import XmgError
from xmg.extract.spec import Job, make_job, read_spec

GOOD = '[[extract]]\ndata = "a.csv"\nencoder = "char-ngrams"\nout = "a.h5"\n'

OPEN = {"id_column", "content_column", "label_column", "pooling", "layers", "device"}  # any text
COUNTS = {"workers", "limit"}


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
        (GOOD + 'dtype = "float64"', r"table 1: dtype is 'float64'\. fix: 'float16' or 'float32'"),
        (GOOD + "limit = 0", r"table 1: limit is 0\. fix: 1 or more"),
        (GOOD + "limit = true", r"table 1: limit is True, no whole number\. fix: a whole number"),
        (GOOD + "workers = 'two'", r"table 1: workers is 'two', no whole number\. fix: a whole"),
        (GOOD + "layout = 3", r"table 1: layout is 3, no text\. fix: put it in quotes"),
        (GOOD + "modality = 'vido'", r"table 1: modality is 'vido'\. fix: 'image', 'text' or"),
        (GOOD.replace("out", "otu"), r"table 1: .*'otu'; the closest is 'out'\. fix: one of data,"),
        (GOOD.replace("a.h5", "z\\u0000.h5"), r"table 1: out is 'z\\x00\.h5', which no file ca"),
        (GOOD.replace("a.csv", "\\u0000"), r"table 1: data is '\\x00', which no file can"),
        (GOOD.replace("a.csv", ""), r"table 1: data is empty\. fix: name a file or folder"),
        (GOOD.replace("a.h5", ""), r"table 1: out is empty\. fix: name a file or folder"),
        (GOOD.replace("char-ngrams", "hf:"), r"table 1: 'hf:' names no model\. fix: name one"),
        (GOOD.replace("a.csv", "a" * 300), r"1: cannot look at .*: File name too long\. fix: "),
        (GOOD.replace("[[extract]]", "[extract]"), r"no list of tables\. fix: .*\[\[extract\]\]"),
        (GOOD.replace("extract", "extrat"), r"there is no table 'extrat'\. fix: .*\[\[extract\]\]"),
        (GOOD.replace("[[extract]]", ""), r"no key 'data' outside of tables\. fix: .*\[\[extract"),
        (GOOD + 'layout = "foldr"', r"table 1: .*'foldr'; the closest is 'folder'"),
        (GOOD.replace('"a.csv"', "[]"), r"table 1: data is \[\]\. fix: name 1 at least"),
        (GOOD.replace('"a.csv"', '["a.csv", 3]'), r"table 1: data, entry 2, is 3, no path\. fix"),
        (GOOD.replace("a.csv", "c.csv"), r"table 1: there is nothing at .*folder/c\.csv\. fix:"),
        (GOOD + 'weights = "w.pth"', r"table 1: there is nothing at .*folder/w\.pth\. fix:"),
        (GOOD + GOOD.replace("char-ngrams", "char-ngram").replace("a.h5", "b.h5"),
         r"table 2: no encoder 'char-ngram'; did you mean char-ngrams"),
        (GOOD + GOOD.replace("a.h5", "../folder/a.h5"), r"tables 1 and 2 both write .*fix: "),
        ('encoder = "yamnet"\n' + GOOD, r"'encoder' outside of tables"),
        ("", r"extract is missing. fix: .*\[\[extract\]\]"),
        ("extract = []", r"extract is empty\. fix: .*\[\[extract\]\]"),
        ("extract = [3]", r"table 1: 3 is no table. fix: .*\[\[extract\]\]"),
        ("[[extract]", "not a readable TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(spec, text, message):
    path = spec(text)
    with pytest.raises(XmgError, match=message) as error:
        read_spec(path)
    said = str(error.value)
    assert said.startswith(str(path)) and said.count("fix: ") == 1


@pytest.mark.parametrize("key", Job.model_fields)
@pytest.mark.parametrize(
    "value", ['""', "3", "0", "-1", "true", "nan", "1.5", "[]", "[3]", '[""]', "{}", "1979-05-27"]
)
def test_values_of_any_kind_are_refused_in_our_own_words(spec, key, value):
    path = spec("".join(line for line in GOOD.splitlines(True) if not line.startswith(key)))
    path.write_text(f"{path.read_text()}{key} = {value}\n")
    if (key in COUNTS and value == "3") or (key in OPEN and value == '""'):
        assert len(read_spec(path)) == 1
        return
    with pytest.raises(XmgError, match=r"table 1: .*fix: ") as error:
        read_spec(path)
    foreign = ("Input", "should", "valid", "validation", "pydantic", "Value error")
    assert not any(word in str(error.value) for word in foreign)


def test_a_byte_order_mark_is_no_text(spec):
    path = spec(GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_spec(path)) == 1


def test_a_missing_spec(tmp_path):
    with pytest.raises(XmgError, match="no spec at"):
        read_spec(tmp_path / "none.toml")


def test_an_option_without_sense():
    with pytest.raises(XmgError, match=r"^dtype is 'float64'. fix: 'float16' or 'float32'"):
        make_job(data=["a"], encoder="yamnet", out="a.h5", dtype="float64")
