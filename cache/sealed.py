"""A feature file that shows features only: what code gets that may read no label."""

from typing import Any

import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.read import FeatureFile

_HIDDEN = ("labels", "classes", "class_index/", "columns/", "ids")


class Sealed(FeatureFile):
    """The same file; to ask for its labels, classes, columns or ids raises XmgError.

    Ids are hidden as they often name the class: `dog/1.jpg`.
    """

    _sealed = False  # opening reads the index of classes

    def __init__(self, file: FeatureFile) -> None:
        super().__init__(file.path)
        self._sealed = True

    def __reduce__(self) -> tuple[Any, ...]:
        return _sealed, (FeatureFile, self.path)

    def __len__(self) -> int:
        return int(self.extents["ids"][1][0])

    def array(self, name: str) -> npt.NDArray[Any]:
        """Map a dataset that is not hidden."""
        if self._sealed and name.startswith(_HIDDEN):
            raise XmgError(
                f"{self.path}: {name!r} was asked for where labels of this modality must not be "
                "read. fix: a system that needs them declares so by its view"
            )
        return super().array(name)


def _sealed(kind: type[FeatureFile], path: Any) -> Sealed:
    return Sealed(kind(path))
