"""Read handwritten digits: multinomial logistic regression trained with fastsoftmax.

Data: the 1,797 images of 8x8 pixels bundled with scikit-learn (nothing is downloaded), split into
60 % training, 20 % validation and 20 % held out. The model is a softmax over one linear score per
digit, fitted by gradient descent; the gradient is written out. Its confidence is then checked:
expected calibration error, a reliability plot, and a temperature fitted on the validation images.

Run:  python examples/digits.py --plot digits_calibration.png

Exit status 1 where held-out accuracy is below 0.95.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import fastsoftmax as fs
import numpy as np
from sklearn.datasets import load_digits

REQUIRED_ACCURACY = 0.95
BINS = 10


def load(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Split the images into three parts and standardise pixels by the training part.

    Returns
    -------
    dict
        For ``train``, ``validation`` and ``held out``: features of shape (images, 65), float32,
        the last column all ones for the bias; and labels of shape (images,), 0 to 9.
    """
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    first, second = int(0.6 * len(labels)), int(0.8 * len(labels))
    mean = images[order[:first]].mean(axis=0)
    deviation = images[order[:first]].std(axis=0)
    deviation[deviation == 0] = 1  # pixels that are blank in every image
    features = np.ones((len(labels), images.shape[1] + 1), np.float32)
    features[:, :-1] = (images - mean) / deviation
    names = ("train", "validation", "held out")
    parts = np.split(order, [first, second])
    return {name: (features[part], labels[part]) for name, part in zip(names, parts, strict=True)}


def train(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int = 40,
    batch: int = 64,
    rate: float = 0.05,
    momentum: float = 0.9,
    decay: float = 1e-3,
    seed: int = 0,
) -> np.ndarray:
    """Fit weights of shape (features, 10) by mini-batch gradient descent with momentum.

    The loss is the mean of ``-log softmax(features @ weights)[label]`` plus ``decay / 2`` times the
    squared weights; its gradient is ``features.T @ (softmax - onehot) / batch + decay * weights``.
    """
    generator = np.random.default_rng(seed)
    onehot = np.eye(10, dtype=np.float32)[labels]
    weights = np.zeros((features.shape[1], 10), np.float32)
    velocity = np.zeros_like(weights)
    for _ in range(epochs):
        order = generator.permutation(len(labels))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            x = features[rows]
            logits = x @ weights
            probabilities = fs.softmax(logits, out=logits)
            gradient = x.T @ (probabilities - onehot[rows]) / len(rows) + decay * weights
            velocity = momentum * velocity - rate * gradient
            weights += velocity
    return weights


def negative_log_likelihood(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
) -> float:
    """Mean surprise at the true digit, in nats."""
    log_probabilities = fs.log_softmax(logits, temperature=temperature)
    return -float(log_probabilities[np.arange(len(labels)), labels].mean(dtype=np.float64))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature with the least negative log likelihood, between 1/8 and 8.

    Golden-section search over the logarithm of the temperature; the likelihood has one minimum.
    """
    shrink = (5**0.5 - 1) / 2
    low, high = np.log(1 / 8), np.log(8)
    while high - low > 1e-4:
        left, right = high - shrink * (high - low), low + shrink * (high - low)
        left_value = negative_log_likelihood(logits, labels, float(np.exp(left)))
        right_value = negative_log_likelihood(logits, labels, float(np.exp(right)))
        if left_value < right_value:
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def reliability(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort predictions into `BINS` bins by confidence.

    Returns
    -------
    confidence, accuracy, count : ndarray of shape (BINS,)
        Means within each bin, NaN where a bin is empty.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return (
            np.bincount(bins, weights=confidence, minlength=BINS) / count,
            np.bincount(bins, weights=correct, minlength=BINS) / count,
            count,
        )


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance between confidence and accuracy, over bins weighted by their size."""
    confidence, accuracy, count = reliability(probabilities, labels)
    gaps = np.nan_to_num(np.abs(confidence - accuracy))
    return float((gaps * count).sum() / count.sum())


def save_plot(path: Path, curves: dict[str, np.ndarray], labels: np.ndarray) -> None:
    """Draw accuracy against confidence for each curve's probabilities, and their histogram.

    A point's area grows with the images in its bin; bins of a few images say little.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(5, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    top.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfectly calibrated")
    edges = np.linspace(0, 1, BINS + 1)
    for name, probabilities in curves.items():
        confidence, accuracy, count = reliability(probabilities, labels)
        (line,) = top.plot(confidence, accuracy, linewidth=1, label=name)
        top.scatter(confidence, accuracy, s=4 + 3 * count, color=line.get_color(), alpha=0.6)
        bottom.stairs(count, edges, label=name)
    top.set(ylabel="accuracy", title="Digits, held-out images", xlim=(0, 1.05), ylim=(0, 1.05))
    top.legend(loc="lower right")
    bottom.set(xlabel="confidence", ylabel="images", yscale="log")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Train, report, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="PATH", help="save the reliability plot there")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    parts = load(args.seed)
    weights = train(*parts["train"], seed=args.seed)
    validation_features, validation_labels = parts["validation"]
    temperature = fit_temperature(validation_features @ weights, validation_labels)

    features, labels = parts["held out"]
    logits = features @ weights
    plain = fs.softmax(logits)
    tempered = fs.softmax(logits, temperature=temperature)
    accuracy = float((plain.argmax(axis=1) == labels).mean())

    print(
        f"images                      {', '.join(f'{len(y)} {n}' for n, (_, y) in parts.items())}"
    )
    print(f"held-out accuracy           {accuracy:.4f}")
    print(f"negative log likelihood     {negative_log_likelihood(logits, labels):.4f}")
    print(f"expected calibration error  {expected_calibration_error(plain, labels):.4f}")
    print(f"temperature                 {temperature:.3f} (fitted on the validation images)")
    print(f"  negative log likelihood   {negative_log_likelihood(logits, labels, temperature):.4f}")
    print(f"  calibration error         {expected_calibration_error(tempered, labels):.4f}")
    if args.plot is not None:
        curves = {"softmax": plain, f"temperature {temperature:.2f}": tempered}
        save_plot(args.plot, curves, labels)
        print(f"reliability plot            {args.plot}")
    if accuracy < REQUIRED_ACCURACY:
        print(f"held-out accuracy is below {REQUIRED_ACCURACY}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
