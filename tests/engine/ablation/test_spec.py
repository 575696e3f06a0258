from pathlib import Path

import pytest
from synthetic import write_pair

from xmg.cache import XmgError
from xmg.cache.pairs import read_concepts
from xmg.cli.completion import shipped_specs
from xmg.engine.ablation.protocol import check
from xmg.engine.ablation.spec import cells_of, read_spec

HEAD = 'source = "source.h5"\ntarget = "target.h5"\n'


@pytest.fixture
def spec(tmp_path):
    def made(text):
        path = tmp_path / "spec.toml"
        path.write_text(HEAD + text)
        return path

    return made


def test_cells_are_every_combination_once(spec, tmp_path):
    path = spec(
        'systems = ["class-mean", "croma"]\nseeds = 3\nshots = [1]\n[settings]\nn_way = 3\n'
        "[axes]\nlabel_noise = [0.0, 0.2]\nn_query = [1, 2, 3]\n"
        '[[variant]]\nlabel = "random"\nsystem = "croma"\nstart = "random"\n'
        "[[tune]]\nalign_rate = 1e-3\n[[tune]]\nalign_rate = 1e-4\n"
    )
    cells = cells_of(read_spec(path))
    assert len(cells) == 3 * 6 * 3
    whole = {(c.label, c.seed, *c.axes.items()) for c in cells}
    assert len(whole) == len(cells)
    assert [c.seed for c in cells] == sorted(c.seed for c in cells)  # a seed's table is whole first
    croma = next(c for c in cells if c.label == "CROMA" and c.axes["n_query"] == 2)
    assert [c.align_rate for c in croma.configs] == [1e-3, 1e-4]
    assert croma.configs[0].source == (tmp_path / "source.h5").resolve()
    assert croma.configs[0].n_way == 3 and croma.configs[0].n_query == 2
    mean = next(c for c in cells if c.system == "class-mean")
    assert len(mean.configs) == 1  # nothing to tune
    assert next(c for c in cells if c.label == "random").configs[0].start == "random"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('systems = [\n"croma",\n"cromma"]', r"line 5: .*'cromma'; the closest is 'croma'"),
        (
            'systems = ["croma"]\n[axes]\nlabel_noise = []',
            r"line 5: axes\.label_noise is .*1 at least",
        ),
        ('systems = ["croma"]\nseeds = -2', r"line 4: seeds is -2. fix: 1 or more"),
        ('systems = ["croma"]\nseeds = true', r"line 4: seeds is True, no number. fix: a number"),
        ('systems = ["croma"]\nseeds = 100000000', r"line 4: seeds is 100000000. fix: 10000 at"),
        ('systems = ["croma"]\nshots = [1, 0]', r"line 4: shots"),
        ('systems = ["croma"]\n[axes]\ntau = [0.1, true]', r"line 5: axes\.tau is True, no number"),
        ('systems = ["croma"]\n[settings]\nfront_shrinkage = true', r"fix: 'best', or a number"),
        ('systems = ["croma"]\n[axes]\nn_negatives = [4, -1]', r"line 5: axes\.n_negatives is -1"),
        (
            'systems = ["croma"]\n[settings]\nlos = "info-nce"',
            r"line 5: .*'los'; the closest is 'loss'",
        ),
        ('systems = ["croma"]\n[settings]\ntau = -1', r"line 5: tau is -1"),
        ('systems = ["croma"]\n[settings]\nseed = 3', r"line 5: there is no setting 'seed'"),
        ('systems = ["croma"]\n[[tune]]\nalign = 3', r"line 5: there is no setting 'align'"),
        ('systems = ["croma", "croma"]', r"line 3: the row 'CROMA' is named twice"),
        ("seeds = 2", "no rows"),
        ('systems = ["croma"]\ncolour = 3', r"line 4: a spec has no 'colour'; the closest is '"),
        ('systems = ["croma"]\nseds = 2', r"line 4: a spec has no 'seds'; the closest is 'seeds'"),
        ("systems = [", "not a readable TOML"),
        (
            'systems = ["croma"]\n[[variant]]\nlabel = "x"',
            r"line 4: .*needs a system. fix: system =",
        ),
        ('seeds = 2\nsystems = ["croma"]\nshots = [\n1,\n-3]', r"line 7: shots, entry 2, is -3"),
        ('systems = ["croma"]\nshots = [1, 1]', r"line 4: shots must differ"),
        (
            'systems = ["croma"]\n# tau\n[settings]\nwidth = 8\n[[variant]]\nsystem = "shared"\n'
            '[[variant]]\nsystem = "oracle"\nwidth = 0',
            r"line 11: width is 0",
        ),
        ('systems = ["croma"]\n[[tune]]\ntau = 0.1\n[[tune]]\ntau = 0', r"line 7: tau is 0"),
        ('systems = ["croma"]\n[axes]\ntau = [\n0.1,\n0.0,\n]', r"line 7: axes\.tau is 0"),
        (
            'systems = ["croma"]\n[settings]\nhard = true\n[axes]\nn_candidates = [99, 2]',
            r"line 7: axes\.n_candidates must be at least",
        ),
        ('systems = ["croma"]\n[axes]\nshots = [1]', r"line 5: .*'shots'; it stands above"),
        ('systems = ["croma"]\n[[tune]]\nn_way = 3', r"line 5: n_way changes the tasks .*\[axes\]"),
        (
            'systems = ["croma"]\n[[tune]]\nsets = "id"',
            r"line 5: sets changes the tasks or the data",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(spec, text, message):
    with pytest.raises(XmgError, match=message):
        read_spec(spec(text))


def test_a_source_that_is_not_named(tmp_path):
    (tmp_path / "spec.toml").write_text('target = "t.h5"\nsystems = ["croma"]')
    with pytest.raises(XmgError, match=r"source is not named\. fix: source = .*--source FILE"):
        read_spec(tmp_path / "spec.toml")


def test_a_reference_that_is_no_row(spec, tmp_path):
    """Other faults come first: the rows may be right."""
    rows = 'systems = ["class-mean", "cca"]\n'
    with pytest.raises(XmgError, match=r"source\.h5"):
        read_spec(spec(rows))
    write_pair(tmp_path, n_classes=2, per_class=2)
    with pytest.raises(XmgError, match=r"names no reference.*one of 'class-mean', 'cca'"):
        read_spec(spec(rows))
    with pytest.raises(XmgError, match=r"line 4: reference 'x' is none .*one of 'class-mean'"):
        read_spec(spec(rows + 'reference = "x"'))
    with pytest.raises(XmgError, match="no setting 'los'"):
        read_spec(spec(rows + '[settings]\nlos = "sigmoid"'))


def test_a_byte_order_mark_is_no_text(spec):
    path = spec('systems = ["croma"]\n[settings]\nlos = 3')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(XmgError, match="line 5: "):
        read_spec(path)


def test_a_missing_spec(tmp_path):
    with pytest.raises(XmgError, match="no spec at"):
        read_spec(tmp_path / "none.toml")


def test_what_the_data_cannot_support_is_refused_before_anything_runs(spec, tmp_path):
    write_pair(tmp_path, n_classes=12, per_class=6)
    path = spec('systems = ["croma"]\nshots = [1, 5]\n[settings]\nn_way = 3\nn_query = 4\n')
    with pytest.raises(XmgError, match=r"(?s)CROMA, seed 0: .*in a spec shots = \[1\]"):
        check(cells_of(read_spec(path)))
    check(
        cells_of(
            read_spec(
                spec('systems = ["croma"]\nshots = [1]\n[settings]\nn_way = 3\nn_query = 4\n')
            )
        )
    )


@pytest.mark.parametrize("path", shipped_specs(), ids=lambda path: path.stem)
def test_shipped_specs_are_sound(path):
    spec = read_spec(path, here=True)
    assert cells_of(spec)
    assert path.read_text("utf-8").startswith("# ")  # what --list says
    assert {spec.source.parent, spec.target.parent} == {Path()}


def test_a_shipped_spec_brings_its_concepts_and_takes_others(tmp_path):
    (path,) = (p for p in shipped_specs() if p.stem == "image-to-audio")
    found = read_spec(path, here=True)
    assert found.concepts == path.parent / "concepts" / "image-to-audio.toml"
    assert len(read_concepts(found.concepts).source) == 13
    other = read_spec(path, here=True, concepts=tmp_path / "mine.toml")
    assert other.concepts == tmp_path / "mine.toml"


def test_options_stand_in_for_the_file(spec, tmp_path):
    found = read_spec(spec('systems = ["croma"]\n'), seeds=2, source=tmp_path / "other.h5")
    assert (found.seeds, found.source) == (2, tmp_path / "other.h5")
