"""Slow independent twins, written from the definitions with plain Python and NumPy."""

import math
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_A, _B = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

Grid = list[list[int]]


# Random words ------------------------------------------------------------------------------


def splitmix64(state: int) -> Iterator[int]:
    """The published generator: https://prng.di.unimi.it/splitmix64.c."""
    while True:
        state = (state + _GOLDEN) & _MASK
        yield finalize(state)


def finalize(z: int) -> int:
    z = ((z ^ (z >> 30)) * _A) & _MASK
    z = ((z ^ (z >> 27)) * _B) & _MASK
    return z ^ (z >> 31)


def word(key: int, i: int) -> int:
    return next(islice(splitmix64(key), i, None))


def child(key: int, i: int) -> int:
    return finalize(word(key, i) ^ _A)


# Episodes ----------------------------------------------------------------------------------


def choose(key: int, n: int, k: int) -> list[int]:
    """Fisher-Yates on a dictionary of moved places: first k of a permutation of range(n)."""
    moved: dict[int, int] = {}
    chosen = []
    for i, bits in enumerate(islice(splitmix64(key), k)):
        r = i + bits % (n - i)
        chosen.append(moved.get(r, r))
        moved[r] = moved.get(i, i)
    return chosen


def task(
    key: int, episode: int, members: list[list[int]], n_way: int, k: int, q: int, groups=None
) -> tuple[Grid, Grid]:
    """Support and query rows of one episode; members[c] are the rows of class c."""
    stream = child(key, episode)
    support, query = [], []
    for c, drawn in enumerate(choose(child(stream, 0), len(members), n_way)):
        s, t = _task_class(child(child(stream, 1), c), members[drawn], k, q, groups)
        support.append(s)
        query.append(t)
    return support, query


def _task_class(key: int, rows: list[int], k: int, q: int, groups) -> tuple[list[int], list[int]]:
    if groups is None:
        order = [rows[i] for i in choose(key, len(rows), k + q)]
        return order[q:], order[:q]
    for attempt in range(64):
        order = choose(child(key, attempt), len(rows), min(len(rows), 8 * (k + q)))
        query = [rows[i] for i in order[:q]]
        taken = {groups[row] for row in query}
        apart = [rows[i] for i in order[q:] if groups[rows[i]] not in taken]
        if len(apart) >= k:
            return apart[:k], query
    raise AssertionError("no attempt keeps the recordings apart")


def pairs(
    key: int,
    episode: int,
    sources: Grid,
    targets: Grid,
    n_sets: int,
    n_pairs: int,
    n_negatives: int,
) -> tuple[list[int], list[int], Grid]:
    """Source, target and negative rows of one alignment episode; sources[s] are rows of set s."""
    stream = child(key, episode)
    drawn = choose(child(stream, 0), len(sources), n_sets)
    draw = list(islice(splitmix64(child(stream, 1)), 2 * n_pairs))
    away = iter(splitmix64(child(stream, 2)))
    source, target, negatives = [], [], []
    for b in range(n_pairs):
        own = drawn[b % n_sets]
        others = [row for s, rows in enumerate(targets) if s != own for row in rows]
        source.append(sources[own][draw[2 * b] % len(sources[own])])
        target.append(targets[own][draw[2 * b + 1] % len(targets[own])])
        negatives.append([others[next(away) % len(others)] for _ in range(n_negatives)])
    return source, target, negatives


def shared_negatives(key: int, episode: int, targets: Grid, n_sets: int, n: int) -> list[int]:
    """Target rows outside all sets that the alignment episode draws."""
    stream = child(key, episode)
    drawn = choose(child(stream, 0), len(targets), n_sets)
    others = [row for s, rows in enumerate(targets) if s not in drawn for row in rows]
    return [others[bits % len(others)] for bits in islice(splitmix64(child(stream, 2)), n)]


def hardest(cosines: list[float], own: float, gap: float, k: int) -> list[int]:
    """The k candidates of highest cosine that are not nearer than own - gap; of those that are,
    the farthest fill up."""
    order = sorted(range(len(cosines)), key=lambda i: -cosines[i])
    fair = [i for i in order if cosines[i] <= own - gap]
    return (fair + [i for i in reversed(order) if i not in fair])[:k]


def gather(table: Grid, rows: list[int]) -> tuple[int, Grid]:
    """Rows of a table, or the place of the first row that it does not have, and no rows."""
    for i, row in enumerate(rows):
        if not 0 <= row < len(table):
            return i, []
    return len(rows), [list(table[row]) for row in rows]


# Losses, as printed, term by term ----------------------------------------------------------


def _dot(a, b) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def info_nce(z_s, z_t, z_neg, tau: float) -> float:
    total = 0.0
    for s, t, others in zip(z_s, z_t, z_neg, strict=True):
        f = [math.exp(_dot(s, v) / tau) for v in [t, *others]]
        total -= math.log(f[0] / math.fsum(f))
    return total / len(z_s)


def nce_margin(z_s, z_t, z_neg, margin: float) -> float:
    terms = [
        max(0.0, margin + _dot(s, n) - _dot(s, t))
        for s, t, others in zip(z_s, z_t, z_neg, strict=True)
        for n in others
    ]
    return math.fsum(terms) / len(terms)


def nce_logistic(z_s, z_t, z_neg, tau: float) -> float:
    total = 0.0
    for s, t, others in zip(z_s, z_t, z_neg, strict=True):
        total -= math.log(_logistic(_dot(s, t) / tau))
        total -= sum(math.log(_logistic(-_dot(s, n) / tau)) for n in others) / len(others)
    return total / len(z_s)


def sigmoid(z_s, z_t, z_neg, tau: float) -> float:
    total = 0.0
    for s, t, others in zip(z_s, z_t, z_neg, strict=True):
        bias = math.log(1 / len(others))
        total -= math.log(_logistic(_dot(s, t) / tau + bias))
        total -= math.fsum(math.log(_logistic(-_dot(s, n) / tau - bias)) for n in others)
    return total / len(z_s)


def triplet_hard(z_s, z_t, z_neg, margin: float, n_sets: int) -> float:
    total = 0.0
    for i, (s, t, others) in enumerate(zip(z_s, z_t, z_neg, strict=True)):
        own = _dot(s, t)
        back = [_dot(z_s[j], t) for j in range(len(z_s)) if j % n_sets != i % n_sets]
        total += max(0.0, *(margin + _dot(s, n) - own for n in others))
        total += max(0.0, *(margin + score - own for score in back))
    return total / len(z_s)


def class_mean_hinge(z_s, z_t, margin: float, n_sets: int) -> float:
    a, b = ([_mean(z[c::n_sets]) for c in range(n_sets)] for z in (z_s, z_t))
    terms = [
        max(0.0, margin + _dot(a[c], b[other]) - _dot(a[c], b[c]))
        for c in range(n_sets)
        for other in range(n_sets)
        if other != c
    ]
    return math.fsum(terms) / len(terms)


def loss(name: str, z_s, z_t, z_neg, tau: float, margin: float, n_sets: int) -> float:
    """The loss that a config calls `name`, of arrays."""
    s, t, n = (z.tolist() for z in (z_s, z_t, z_neg))
    return {
        "info-nce": lambda: info_nce(s, t, n, tau),
        "nce-margin": lambda: nce_margin(s, t, n, margin),
        "nce-logistic": lambda: nce_logistic(s, t, n, tau),
        "sigmoid": lambda: sigmoid(s, t, n, tau),
        "triplet-hard": lambda: triplet_hard(s, t, n, margin, n_sets),
        "class-mean-hinge": lambda: class_mean_hinge(s, t, margin, n_sets),
    }[name]()


def _mean(rows) -> list[float]:
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# The two motions ---------------------------------------------------------------------------

Parameters = dict[str, np.ndarray]
Loss = Callable[[Parameters], complex]


def gradient(loss: Loss, theta: Parameters, names: list[str]) -> Parameters:
    """Complex-step derivative, exact to rounding: d/dx f = Im f(x + ih) / h."""
    found = {}
    for name in names:
        found[name] = np.empty_like(theta[name])
        for place in np.ndindex(theta[name].shape):
            moved = theta[name].astype(complex)
            moved[place] += 1e-30j
            found[name][place] = np.imag(loss({**theta, name: moved})) / 1e-30
    return found


def adam(theta: Parameters, loss: Loss, names: list[str], n_steps: int, rate: float) -> Parameters:
    """Algorithm 1 of Kingma and Ba (arXiv:1412.6980) with its default constants."""
    theta = dict(theta)
    first = {name: np.zeros_like(theta[name]) for name in names}
    second = {name: np.zeros_like(theta[name]) for name in names}
    for t in range(1, n_steps + 1):
        for name, g in gradient(loss, theta, names).items():
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g * g
            m, v = first[name] / (1 - 0.9**t), second[name] / (1 - 0.999**t)
            theta[name] = theta[name] - rate * m / (np.sqrt(v) + 1e-8)
    return theta


def sgd(
    theta: Parameters,
    loss: Loss,
    names: list[str],
    n_steps: int,
    rate: float,
    mu: float,
    decay: float,
) -> Parameters:
    """Heavy-ball momentum and L2 decay, as torch.optim.SGD words them."""
    theta = dict(theta)
    b = {name: np.zeros_like(theta[name]) for name in names}
    for _ in range(n_steps):
        for name, g in gradient(loss, theta, names).items():
            b[name] = mu * b[name] + g + decay * theta[name]
            theta[name] = theta[name] - rate * b[name]
    return theta


def outer(kind: str, theta: Parameters, gradients: list[Parameters], steps: list[float], mu: float):
    """Meta-updates by given meta-gradients and step sizes."""
    theta = dict(theta)
    b = {name: np.zeros_like(value) for name, value in theta.items()}
    v = {name: np.zeros_like(value) for name, value in theta.items()}
    for i, (g, step) in enumerate(zip(gradients, steps, strict=True), 1):
        for name in theta:
            if kind == "sgd":
                theta[name] = theta[name] - step * g[name]
            elif kind == "momentum":
                b[name] = mu * b[name] + g[name]
                theta[name] = theta[name] - step * b[name]
            else:
                b[name] = 0.9 * b[name] + 0.1 * g[name]
                v[name] = 0.999 * v[name] + 0.001 * g[name] ** 2
                m, s = b[name] / (1 - 0.9**i), v[name] / (1 - 0.999**i)
                theta[name] = theta[name] - step * m / (np.sqrt(s) + 1e-8)
    return theta


def reptile(theta: Parameters, task: Parameters, epsilon: float) -> Parameters:
    return {name: theta[name] + epsilon * (task[name] - theta[name]) for name in theta}


def meta_iteration(theta: Parameters, episode: dict[str, np.ndarray], config) -> Parameters:
    """CROMA by InfoNCE: align e_s and e_t, then classify with e_s and phi, then Reptile."""

    def align(p: Parameters) -> complex:
        s, t = _unit(episode["source"] @ p["source"]), _unit(episode["target"] @ p["target"])
        n = _unit(episode["negatives"] @ p["target"])
        own = (s * t).sum(1) / config.tau
        others = (s[:, None] * n).sum(2) / config.tau
        return np.mean(np.log(np.exp(own) + np.exp(others).sum(1)) - own)

    def classify(p: Parameters) -> complex:
        logits = _unit(episode["shots"] @ p["source"]) @ p["phi"] / config.tau
        own = logits[np.arange(len(logits)), episode["labels"]]
        return np.mean(np.log(np.exp(logits).sum(1)) - own)

    task = adam(theta, align, ["source", "target"], config.inner_steps, config.align_rate)
    task = adam(task, classify, ["source", "phi"], config.inner_steps, config.classify_rate)
    return reptile(theta, task, config.meta_step)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt((rows * rows).sum(-1, keepdims=True))
