"""Every kind of wrong value is told in our words, with what to write."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from xmg.cache.wording import of_value


class Settings(BaseModel):
    n: Annotated[int, Field(ge=1, lt=2**40)] = 1
    rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    kind: Literal["a", "b"] = "a"
    shrinkage: Literal["best"] | Annotated[float, Field(gt=0)] = "best"
    shots: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1,)
    mixed: Literal["best"] | Annotated[str, Field(pattern="^x")] = "best"
    bias: bool = False
    name: str = ""
    table: dict[str, int] = {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n": 0}, "n is 0. fix: 1 or more"),
        ({"n": 2**40}, "n is 1099511627776. fix: less than 1099511627776"),
        ({"n": "x"}, "n is 'x', no whole number. fix: a whole number"),
        ({"n": 1.5}, "n is 1.5, no whole number. fix: a whole number"),
        ({"rate": 0}, "rate is 0. fix: more than 0"),
        ({"rate": 1e9}, "rate is 1000000000.0. fix: 1000 at most"),
        ({"rate": float("nan")}, "rate is nan, no number. fix: a number"),
        ({"kind": "c"}, "kind is 'c'. fix: 'a' or 'b'"),
        ({"shrinkage": "x"}, "shrinkage is 'x'. fix: 'best', or a number"),
        ({"shrinkage": -1}, "shrinkage is -1. fix: 'best', or more than 0"),
        ({"mixed": "y"}, "mixed is 'y'. fix: 'best'"),  # what no rule words is left out
        ({"shots": []}, "shots is []. fix: name 1 at least"),
        ({"shots": [1, 0]}, "shots, entry 2, is 0. fix: 1 or more"),
        ({"shots": 5}, "shots is 5, no list. fix: put it in [ ]"),
        ({"bias": "perhaps"}, "bias is 'perhaps', neither true nor false. fix: true or false"),
        ({"name": 3}, "name is 3, no text. fix: put it in quotes"),
        ({"table": 3}, "table is 3, no table. fix: begin a table by a line with its name in brac"),
    ],
)
def test_a_wrong_value_in_words(wrong, said):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(wrong)
    found = of_value(caught.value.errors())
    assert found.startswith(said) and (found == said or found.endswith("brackets"))
