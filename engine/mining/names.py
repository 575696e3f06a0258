"""Class names as data sets spell them: their words, and a name for a concept."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN_WORDS: Final = re.compile(r"[\W_]+")
_ENDINGS: Final = (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"))


def words(name: str) -> list[str]:
    """Lower-case words of a class name, without numbers: "CarHorns_2" -> car, horns.

    A name that is nothing but numbers keeps them.
    """
    spelt = _CAMEL.sub(" ", unicodedata.normalize("NFC", name))
    found = [word.casefold() for word in _BETWEEN_WORDS.split(spelt) if word]
    return [word for word in found if not word.isdecimal()] or found


def spoken(name: str) -> str:
    """The name in the singular with an article, for an encoder of text: "CarHorns" -> a car horn.

    Without the article a lone word such as "tick" is hardly a thing to an encoder of sentences.
    """
    return f"a {' '.join(map(singular, words(name))) or name}"


def singular(word: str) -> str:
    """Strip an English plural by rule: a guess, good enough to compare words with words."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + instead
    if word.endswith("s") and len(word) > 3 and word[-2] not in "sui":
        return word[:-1]
    return word


def shared_word(source: Sequence[str], target: Sequence[str]) -> str:
    """A name for a concept: the last word that all its classes share, else the first source's."""
    first, *others = ([singular(w) for w in words(name)] for name in (*source, *target))
    shared = [word for word in first if all(word in other for other in others)]
    return shared[-1] if shared else "_".join(words(source[0])) or source[0]
