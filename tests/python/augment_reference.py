"""AugmentReduce by its formulas, in float64, and layers to try it on."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
from scipy import integrate, optimize, special, stats

CLASSES, DEPTH, ROWS = 40, 6, 11
MODELS = ["softmax", "probit", "logistic"]
NOISE = {"probit": stats.norm, "logistic": stats.logistic}
EVERY = fs.Sample(np.arange(CLASSES), np.zeros(CLASSES))


def layer(dtype=np.float64, seed=0):
    """Inputs, weights, targets and bias."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, DEPTH)).astype(dtype)
    weights = rng.normal(size=(CLASSES, DEPTH)).astype(dtype)
    bias = rng.normal(size=CLASSES).astype(dtype)
    return x, weights, rng.integers(0, CLASSES, ROWS), bias


def gaps_of(x, weights, targets, bias):
    """z_y - z_k for all k != y, in float64: (rows, classes - 1)."""
    z = x.astype(np.float64) @ weights.astype(np.float64).T + bias
    rows = np.arange(len(x))
    others = np.ones(z.shape, bool)
    others[rows, targets] = False
    return z[rows, targets][:, None] - z[others].reshape(len(x), -1)


def log_joint(model, e, gaps):
    """log f(e) + sum of log F(e + gap)."""
    noise = NOISE[model]
    log_cdf = special.log_ndtr if model == "probit" else special.log_expit
    return noise.logpdf(e) + log_cdf(np.asarray(e)[..., None] + gaps).sum(-1)


def log_likelihood(model, gaps):
    if model == "softmax":
        return -np.log1p(np.exp(-gaps).sum())
    peak = optimize.minimize_scalar(lambda e: -log_joint(model, e, gaps), bracket=(0, 5)).x
    highest = log_joint(model, peak, gaps)
    e = np.linspace(peak - 40, peak + 60, 5001)
    return highest + np.log(integrate.trapezoid(np.exp(log_joint(model, e, gaps) - highest), e))


def bound(model, location, scale, gaps):
    """The bound by quadrature over quantiles of q."""
    if model == "softmax":
        return 1 - location - np.exp(-location) * (1 + np.exp(-gaps).sum())
    noise = NOISE[model]
    u = (np.arange(4000) + 0.5) / 4000
    e = location + scale * noise.ppf(u)
    return (log_joint(model, e, gaps) - noise.logpdf(noise.ppf(u)) + np.log(scale)).mean()


def held(model, count=ROWS, seed=1, **options):
    """An object whose examples have been visited, with locations and scales near and far."""
    of = fs.AugmentReduce(count, model, seed=seed, **options)
    rng = np.random.default_rng(seed)
    of.visits[:] = 3
    of.location[:] = rng.normal(3, 2, count)
    if model != "softmax":
        of.scale[:] = rng.uniform(0.3, 1.5, count)
    return of
