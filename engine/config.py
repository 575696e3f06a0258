"""Everything a meta-training run depends on; saved whole beside its results."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from xmg.cache import XmgError
from xmg.cache.names import closest
from xmg.cache.wording import of_value

LossName = Literal[
    "info-nce", "nce-margin", "nce-logistic", "sigmoid", "triplet-hard", "class-mean-hinge"
]
HeadName = Literal["linear", "mlp", "residual", "lstm"]
SystemName = Literal[
    "croma",
    "align-meta-classify",
    "align-classify",
    "align-classify-adversarial",
    "align-classify-cycle",
    "shared",
    "shared-align",
    "shared-confusion",
    "shared-target-labels",
    "reconstruct",
    "weak-labels",
    "set-classifier",
    "oracle",
    "target-classifier",
]
Start = Literal["best", "cca", "procrustes", "identity", "random"]


def _no_truth(value: Any) -> Any:
    """Refuse true and false, which pydantic takes for 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "no number")
    return value


Whole = Annotated[int, BeforeValidator(_no_truth)]
Number = Annotated[float, BeforeValidator(_no_truth)]
Share = Annotated[Number, Field(gt=0, le=1)]
Positive = Annotated[Whole, Field(ge=1)]
Margin = Annotated[Number, Field(ge=-2, le=2)]  # cosines differ by 2 at most
Temperature = Annotated[Number, Field(ge=1e-6, le=1e6)]  # beyond, single precision has no gradient
Rate = Annotated[Number, Field(gt=0, le=1000)]  # beyond that, single precision overflows
FILES = ("source", "target", "concepts", "pairs")  # settings that are paths


class Config(BaseModel):
    """A system's settings, named by the paper's symbols where it has one.

    Paths are of feature files. With `concepts` the pairs are weak; without, `pairs` lists them or
    ids are joined, and a set is all pairs of one source label, a single pair, or what `pairs` says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path
    target: Path
    concepts: Path | None = None
    pairs: Path | None = None  # a table of strong pairs; without it equal ids are pairs
    sets: Literal["label", "id", "clusters"] = "label"  # strong pairs only
    n_clusters: Annotated[Whole, Field(ge=2)] | None = None  # of sets = "clusters"; sqrt(N) without
    system: SystemName = "croma"
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0  # the only source of randomness

    # Protocol: tasks of meta-validation and meta-test
    n_way: Annotated[Whole, Field(ge=2)] = 5
    n_query: Positive = 10  # queries per class
    shots: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 5, 10)
    n_tasks: Positive = 8  # fixed meta-test tasks (class sets)
    n_validation: Positive = 32  # meta-validation tasks
    n_repeats: Positive = 10  # fresh support and query sets for each task

    # Data withheld, for studies
    target_share: Share = 1.0  # of each set's target rows
    n_train_sets: Annotated[Whole, Field(ge=2)] | None = None  # sets of pairs that are kept
    label_share: Share = 1.0  # of the target labels, where a system reads them in meta-training
    label_noise: Annotated[Number, Field(ge=0, lt=1)] = 0.0  # of all target labels, made wrong

    # Heads
    start: Start = "best"
    shrinkage: Share = 0.1  # of covariances, where start = "cca"
    front_width: Positive = 1024  # dimensions left by whitening, at most
    front_shrinkage: Literal["best"] | Share = "best"  # of the covariance it divides by; 1: none
    width: Positive = 256  # of the aligned space
    tau: Temperature = 0.2  # temperature of similarities

    head: HeadName = "linear"
    source_head: HeadName | None = None  # head, unless given; lstm is for sequences, and only it
    target_head: HeadName | None = None
    bias: bool = False  # of linear and mlp heads
    hidden: Positive = 512  # units of an mlp head, or of an lstm in each direction
    source_layers: Positive = 1  # of lstm heads, which the paper has bidirectional for text
    source_bidirectional: bool = True
    target_layers: Positive = 2  # and of two layers for speech
    target_bidirectional: bool = False
    rank: Positive = 16  # of a residual head's correction

    # Meta-alignment task T_a
    n_sets: Annotated[Whole, Field(ge=2)] = 32
    k_pairs: Positive = 2  # pairs of each set; 1 where each pair is a set
    n_negatives: Positive = 16
    negatives: Literal["pair", "step", "task"] = "pair"  # who has its own, or shares
    hard: bool = False  # each pair's nearest of n_candidates under the current heads
    n_candidates: Positive = 128
    false_gap: Annotated[Number, Field(ge=0, le=2)] = 0.05  # nearer than own pair - it: passed
    loss: LossName = "info-nce"
    margin: Margin = 0.1  # of nce-margin, triplet-hard and class-mean-hinge
    align_rate: Rate = 3e-4

    # Source classification task T_s
    k_shot: Positive = 5
    classify_rate: Rate = 3e-4

    # Inner loop
    device: Literal["cpu", "cuda"] = "cpu"
    solver: Literal["auto", "reference", "direct", "span", "batched"] = "auto"
    batch: Annotated[Whole, Field(ge=2)] | None = None  # pairs, or shots, of a step; all without it
    optimizer: Literal["adam", "sgd"] = "adam"  # of the inner steps; sgd wants higher rates
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0  # of sgd
    weight_decay: Annotated[Number, Field(ge=0, le=1)] = 0.0  # of sgd
    inner_steps: Positive = 5

    # Meta-update
    meta_gradient: Literal["reptile", "fomaml"] = "reptile"
    meta_optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    meta_step: Annotated[Number, Field(gt=0, le=1)] = 0.5  # epsilon
    # of meta_step, and of the rates of ordinary stages, to 0
    meta_schedule: Literal["constant", "linear", "cosine"] = "constant"
    meta_momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9  # of momentum
    meta_batch: Positive = 1  # tasks whose mean makes one meta-update
    iterations: Positive = 300
    validate_every: Positive = 20

    @property
    def n_shots(self) -> int:
        """Rows of each class in T_s: FOMAML has as many queries as shots."""
        return self.k_shot * (2 if self.meta_gradient == "fomaml" else 1)

    @property
    def n_selection(self) -> int:
        """Tasks that settings of meta-test are chosen by, the meta-validation tasks among them."""
        return 2 * self.n_validation

    @model_validator(mode="after")
    def _check(self) -> Self:
        heads = {self.source_head or self.head, self.target_head or self.head}
        if len(set(self.shots)) != len(self.shots):
            raise ValueError(f"shots must differ, got {self.shots}")
        if self.concepts and self.pairs:
            raise ValueError("pairs are strong and concepts weak pairs: give one of them")
        if self.optimizer == "adam" and (self.momentum or self.weight_decay):
            raise ValueError("momentum and weight_decay are settings of optimizer = 'sgd'")
        if self.optimizer == "adam" and self.solver == "span":
            raise ValueError("the span solver is exact for optimizer = 'sgd' only")
        if self.device == "cuda" and self.solver not in {"auto", "batched"}:
            raise ValueError(f"solver = '{self.solver}' runs on the CPU only")
        if "lstm" in heads and self.solver in {"direct", "span"}:
            raise ValueError(f"solver = '{self.solver}' is not for lstm heads")
        if self.system != "croma" and (self.device != "cpu" or self.solver != "auto"):
            raise ValueError("device and solver are settings of system = 'croma'")
        shared = self.system.startswith("shared")
        if shared and (heads != {"linear"} or self.bias):
            raise ValueError(f"system = '{self.system}' is for linear heads without bias")
        if "lstm" in heads and self.system in {"align-classify-cycle", "reconstruct"}:
            raise ValueError(f"system = '{self.system}' is not for lstm heads")
        if self.n_clusters and self.sets != "clusters":
            raise ValueError("n_clusters is a setting of sets = 'clusters'")
        if self.hard and self.negatives != "pair":
            raise ValueError("hard negatives are each pair's own: negatives = 'pair'")
        if self.hard and self.n_candidates < self.n_negatives:
            raise ValueError(f"n_candidates must be at least n_negatives = {self.n_negatives}")
        return self


def make_config(**settings: object) -> Config:
    """Build a Config; raises XmgError naming the first setting that is wrong."""
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][0])
            meant = closest(name, [*Config.model_fields])
            text = f"there is no setting {name!r}{meant}. fix: correct its name, or take it out"
            raise XmgError(text) from None
        raise XmgError(of_value(error.errors())) from None
