"""What memory the settings ask for at least, compared with what the machine has."""

from collections.abc import Sequence
from typing import Any, Final

import torch

from xmg.cache import XmgError
from xmg.cache.memory import free_memory
from xmg.engine.config import Config
from xmg.engine.data.inputs import n_shared, n_steps_drawn, pairs_of_set, step_size
from xmg.engine.data.problem import Problem

_FLOAT: Final = 4
_COPIES: Final = 6  # of weights: at the start and the end of a task, gradients, moments
_AHEAD: Final = 4  # meta-iterations whose rows are held: under way, prepared, and being read
_EMBEDDED: Final = 5  # arrays as wide as the embeddings that a solver keeps of its rows
_SLOT: Final = 8  # bytes of a row's number in the plan of what each inner step reads
_EPISODE: Final = 48  # bytes of a row of an episode: a number in an array, and in a list
_BLAMED: Final = (
    "width", "hidden", "rank", "n_negatives", "n_candidates", "n_sets", "k_pairs", "k_shot",
    "meta_batch", "inner_steps", "n_way", "n_tasks", "n_validation", "n_repeats",
)  # fmt: skip


def check_room(problem: Problem, config: Config) -> None:
    """Raise XmgError where a run would take more memory than is free, before any is taken.

    The estimate is low, so that nothing is refused that might run. The fix halves whatever is
    furthest above its default.
    """
    dims = problem.train.source.file.dim, problem.train.target.dim
    config = config.model_copy(update={"n_sets": min(config.n_sets, len(problem.train.sets))})
    room, asked = _free(config), needed(config, dims)
    if not room or asked <= room:
        return
    lowered: dict[str, int] = {}
    while needed(config.model_copy(update=lowered), dims) > room // 2:
        now = {name: lowered.get(name, getattr(config, name)) for name in _BLAMED}
        name = max(now, key=lambda name: now[name] / _default(name))
        if now[name] <= _default(name):
            break
        lowered[name] = max(_default(name), now[name] // 2)
    too_much = ", ".join(f"{name} = {getattr(config, name)}" for name in lowered)
    words = ", ".join(f"{name} = {value}" for name, value in lowered.items())
    raise XmgError(
        f"{too_much or 'these settings'} would take {asked / 1e9:,.1f} GB of memory at least, and "
        f"{room / 1e9:,.1f} GB are free.\n"
        + (f"fix: {words} in a --config file" if words else "fix: end what else runs here")
    )


def _free(config: Config) -> int:
    """Bytes, of the device's memory where tasks are held there."""
    if config.device == "cuda" and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return free_memory()


def needed(config: Config, dims: Sequence[int]) -> int:
    """Bytes at least."""
    d_s, d_t = (min(dim, config.front_width) for dim in dims)
    weights = sum(_weights(config, d, kind) for d, kind in (
        (d_s, config.source_head), (d_t, config.target_head)))  # fmt: skip
    pairs = config.n_sets * pairs_of_set(config)
    own = config.negatives == "pair" and not config.hard
    negatives = pairs * config.n_negatives if own else n_shared(config)
    shots = config.n_way * config.n_shots
    rows = pairs * (d_s + d_t) + negatives * d_t + shots * d_s
    embedded = (2 * pairs + negatives) * config.width
    held = config.meta_batch * _AHEAD * rows + _EMBEDDED * embedded + _COPIES * weights
    a_task = config.n_way * sum(k + config.n_query for k in config.shots)
    n_tasks = config.n_tasks * config.n_repeats + config.n_selection
    return _FLOAT * held + _SLOT * _planned(config, pairs) + _EPISODE * a_task * n_tasks


def _planned(config: Config, pairs: int) -> int:
    """Rows that the inner steps read: of the source once, of the target with negatives."""
    a_step = step_size(config, pairs)
    n_negatives = config.n_negatives * (a_step if config.negatives == "pair" else 1)
    return n_steps_drawn(config) * (2 * a_step + n_negatives)


def _weights(config: Config, d: int, kind: str | None) -> int:
    """Numbers in a head of d inputs; of an lstm in one layer and direction."""
    width, hidden = config.width, config.hidden
    return {
        "linear": d * width,
        "mlp": hidden * (d + width),
        "residual": d * width + config.rank * (d + width),
        "lstm": 4 * hidden * (d + hidden) + hidden * width,
    }[kind or config.head]


def _default(name: str) -> Any:
    return Config.model_fields[name].default
