"""What the data cannot serve is known before anything runs."""

import numpy as np
import pytest
import synthetic

from xmg.cache import XmgError
from xmg.engine.ablation.protocol import check
from xmg.engine.ablation.spec import cells_of, read_spec

CONCEPTS = """
validation = ["c03", "c04", "c05"]
test = ["c06", "c07", "c08"]
[concept.one]
source = ["c00"]
target = ["c00"]
[concept.two]
source = ["c02"]
target = ["c01", "c02"]
"""
HEAD = """
source = "source.h5"
target = "target.h5"
shots = [1]
seeds = 1
"""
TASKS = "\n[settings]\nn_way = 3\nn_query = 4\nk_shot = 2\n"


@pytest.fixture
def checked(tmp_path):
    source, _ = synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)

    def made(text, settings="", source_names=None):
        if source_names:
            source.path.unlink()
            synthetic.write(source.path, np.array(source.features), source_names)
        path = tmp_path / "spec.toml"
        path.write_text(HEAD + text + TASKS + settings)
        return check(cells_of(read_spec(path)))

    return made


@pytest.mark.parametrize("single", [("c03", "c04", "c05"), ("c06", "c07", "c08")])
def test_recordings_that_cannot_be_split(tmp_path, checked, single):
    """Of validation or of test: one recording to a class leaves no queries beside its support."""
    names = synthetic.names(10, 12)
    recordings = [name if name in single else f"{i}" for i, name in enumerate(names)]
    x = np.random.default_rng(0).normal(size=(120, 6))
    (tmp_path / "target.h5").unlink()
    synthetic.write(tmp_path / "target.h5", x, names, columns={"recording": recordings})
    (tmp_path / "concepts.toml").write_text(CONCEPTS)
    with pytest.raises(XmgError, match=r"CROMA, seed 0: .*too few recordings .*fix: lower"):
        checked('concepts = "concepts.toml"\nsystems = ["croma"]')


def test_more_clusters_than_pairs(checked):
    clusters = 'sets = "clusters"\nn_clusters = '
    with pytest.raises(XmgError, match=r"n_clusters = 49, and there are 48 pairs. fix: lower"):
        checked('systems = ["croma"]', clusters + "49")
    assert not checked('systems = ["croma", "set-classifier"]', clusters + "48")


def test_a_row_that_cannot_be_served_is_named_and_the_others_may_run(checked):
    found = checked('systems = ["croma", "oracle", "set-classifier"]', 'sets = "id"')
    assert list(found) == ["classifier of the pairs' sets"]
    assert "sets, seed 0: every pair is a set of its own" in next(iter(found.values()))
    topics = ["news", "sport", "weather"] * 40
    found = checked('systems = ["croma", "cross-modal-probe"]', source_names=topics)
    assert list(found) == ["cross-modal probe: new source samples"]


def test_where_no_row_can_be_served_nothing_runs(checked):
    with pytest.raises(XmgError, match="every pair is a set of its own"):
        checked('systems = ["set-classifier"]\nreference = "set-classifier"', 'sets = "id"')
