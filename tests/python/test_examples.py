"""The examples and the README do what they say."""

import itertools
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import fastsoftmax as fs
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG\r\n\x1a\n"
EXACT = ("full", "hierarchical", "class", "adaptive")
SAMPLED = ("sampled", "nce", "partial_fc", "augment_reduce")
OUTPUTS = EXACT + SAMPLED


def run(*command, **options):
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def blocks(language, document="README.md"):
    """The code blocks of a document in one language, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def digits(*arguments, folder):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    return run(sys.executable, ROOT / "examples" / "digits.py", *arguments, cwd=folder)


def figure(text, label):
    line = next(line for line in text.splitlines() if line.startswith(label))
    return float(re.search(r"\d\.\d+", line)[0])


def test_digits_reports_and_plots(tmp_path):
    done = digits("--plot", tmp_path / "plot.png", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert figure(done.stdout, "held-out accuracy") >= 0.95
    assert 0 < figure(done.stdout, "expected calibration error") < 0.1
    assert 0.3 < figure(done.stdout, "temperature") < 3
    image = (tmp_path / "plot.png").read_bytes()
    assert image.startswith(PNG)
    assert len(image) > 10_000
    assert os.listdir(tmp_path) == ["plot.png"]


def test_digits_gives_the_same_figures_again(tmp_path):
    first, second = (digits(folder=tmp_path).stdout for _ in range(2))
    assert first == second != ""


def test_digits_fails_where_it_learns_too_little(tmp_path):
    """The threshold is a check, not a decoration: scores that say nothing end with status 1."""
    pytest.importorskip("sklearn")
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import digits, numpy as np\n"
        "digits.train = lambda features, labels, seed: np.zeros((features.shape[1], 10), 'f4')\n"
        "sys.argv = ['digits.py']; sys.exit(digits.main())"
    )
    done = run(sys.executable, "-B", "-c", script, cwd=tmp_path)
    assert done.returncode == 1
    assert "below 0.95" in done.stderr


def test_sampling_shows_what_each_filter_does(tmp_path):
    done = run(sys.executable, ROOT / "examples" / "sampling.py", "--tokens", "100", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = re.findall(r"^(.{16}) +([\d.]+) +([\d.]+) +(\d+) of 1600$", done.stdout, re.MULTILINE)
    surprise, entropy = ({row[0].strip(): float(row[i]) for row in rows} for i in (1, 2))
    different = {row[0].strip(): int(row[3]) for row in rows}
    assert len(rows) == 10
    # Drawn as they are, tokens are as surprising as the model says; all filters make them less so.
    assert abs(surprise["plain"] - entropy["plain"]) < 0.3
    hotter = "temperature 1.5"
    for name in set(surprise) - {"plain", hotter}:
        assert surprise["greedy"] <= surprise[name] < surprise["plain"] < surprise[hotter]
        assert different["greedy"] <= different[name] < different[hotter]
    assert abs(surprise["Mirostat, tau 3"] - 3) < 0.5
    for name in surprise:
        assert f"\n{name}: The " in done.stdout
    again = run(sys.executable, ROOT / "examples" / "sampling.py", "--tokens", "100", cwd=tmp_path)
    assert again.stdout == done.stdout


def language_model(*options, folder):
    script = ROOT / "examples" / "language_model.py"
    done = run(sys.executable, "-B", script, "--quick", *options, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def perplexities(text):
    """Perplexities on held-out text as training went on, once what should fall has been checked."""
    rows = re.findall(r"^ +([\d.]+) +[\d.]+ +([\d.]+) +([\d.]+) +([\d.]+)$", text, re.MULTILINE)
    epochs, training, validation, perplexity = (
        list(map(float, c)) for c in zip(*rows, strict=True)
    )
    assert epochs == [0.25, 0.5, 0.75, 1]
    assert training == sorted(training, reverse=True)
    assert validation == sorted(validation, reverse=True)
    return perplexity


def held_out(text):
    found = re.findall(r"^perplexity on held-out text, (.+?) +([\d.]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_language_model_learns(tmp_path):
    pytest.importorskip("matplotlib")
    text = language_model("--plot", "curve.png", folder=tmp_path)
    unigram, bigram, ours = (held_out(text)[name] for name in ("unigram", "bigram", "this model"))
    assert 50 < ours == perplexities(text)[-1] < 0.6 * unigram
    assert ours < bigram < 0.7 * unigram
    share = re.search(
        r"[\d.]+ ms for a step of 1024 words, (\d+)% of them in the output layer", text
    )
    assert 20 < int(share[1]) < 100
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)
    assert os.listdir(tmp_path) == ["curve.png"]


@pytest.mark.parametrize("output", OUTPUTS[1:])
def test_language_model_with_other_outputs(output, tmp_path):
    text = language_model("--output", output, folder=tmp_path)
    assert f"\noutput: {output}\n" in text
    found = held_out(text)
    assert 50 < found["this model"] == perplexities(text)[-1] < 0.6 * found["unigram"]
    written = text.split("this model", 1)[1].split("\n\n")[1:]
    assert len(written) == len(set(written)) == 4
    assert "<unknown>" not in text


def test_language_model_compares_outputs(tmp_path):
    pytest.importorskip("matplotlib")
    text = language_model("--compare", "--plot", "outputs.png", folder=tmp_path)
    table = text[text.index("output          ms") :]
    rows = re.findall(r"^(\w+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+|-)$", table, re.MULTILINE)
    assert [row[0] for row in rows] == list(OUTPUTS)
    curves = text.split("\noutput: ")[1:]
    for name, in_layer, in_all, perplexity, then in rows:
        assert 0 < float(in_layer) < float(in_all)
        curve = perplexities(next(c for c in curves if c.startswith(name)).split("\n\n")[0])
        assert curve[-1] == float(perplexity) < 0.6 * held_out(text)["unigram"]
        assert then == "-" or curve[-1] <= float(then) <= curve[0]
    assert any(row[3] == row[4] for row in rows)  # the fastest, after the time that it took
    assert (tmp_path / "outputs.png").read_bytes().startswith(PNG)
    assert os.listdir(tmp_path) == ["outputs.png"]


@pytest.mark.parametrize("output", EXACT)
def test_output_layers_begin_with_frequencies_and_learn(output, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    layers = import_module("output_layers")
    rng = np.random.default_rng(1)
    counts = np.append([0, 3], rng.permutation(1000 // np.arange(1, 199)))
    layer = layers.EXACT[output](8, counts, seed=2)
    x = rng.normal(size=(5, 8)).astype(np.float32)
    p = np.exp([layer.log_prob(x, np.full(5, word)) for word in range(200)])
    expected = layers.frequency(counts)
    if output == "adaptive":  # where the words of a cluster begin as equals
        starts = np.append(layer.layer.cutoffs, 200)
        for start, end in itertools.pairwise(starts):
            expected[layer.words[start:end]] = expected[layer.words[start:end]].mean()
    np.testing.assert_allclose(p, np.tile(expected[:, None], 5), rtol=1e-5)

    targets, rows = np.array([0, 1, 2, 2, 199]), np.arange(5)
    losses = []
    for _ in range(30):
        loss, _ = layer.loss(x, targets, rows)
        assert loss == pytest.approx(-layer.log_prob(x, targets).mean(), rel=1e-6)
        layer.update()
        losses.append(loss)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]
    step = np.float32(1e-2) * rng.normal(size=x.shape).astype(np.float32)
    slope = layer.loss(x + step, targets, rows)[0] - layer.loss(x - step, targets, rows)[0]
    gradient = layer.loss(x, targets, rows)[1]
    assert slope / 2 == pytest.approx(float((gradient * step).sum()), rel=0.02)

    many = np.tile(x[2], (4000, 1))
    drawn = layer.sample(many, seed=5, position=3)
    np.testing.assert_array_equal(drawn, layer.sample(many, seed=5, position=3))
    p = np.exp([layer.log_prob(x[2:3], [word])[0] for word in range(200)])
    p **= 1 / 0.8 if output == "full" else 1
    p[1] = 0  # UNKNOWN is not drawn
    np.testing.assert_allclose(np.bincount(drawn, minlength=200) / 4000, p / p.sum(), atol=0.03)


@pytest.mark.parametrize("output", SAMPLED)
def test_layers_learn_from_samples(output, monkeypatch):
    """More with each batch, and what the full softmax over the same numbers of it would."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    layers, sampled = import_module("output_layers"), import_module("sampled_layers")
    monkeypatch.setattr(sampled, "WORDS", 50)
    rng = np.random.default_rng(1)
    counts = np.append([0, 3], rng.permutation(1000 // np.arange(1, 199)))
    words = rng.choice(200, 2000, p=layers.frequency(counts))
    vectors = rng.normal(size=(200, 8)).astype(np.float32)
    full, layer = (kind(8, counts, 2) for kind in (layers.Full, sampled.SAMPLED[output]))
    log_p = {full: [], layer: []}
    for rows in np.split(np.concatenate([rng.permutation(2000) for _ in range(5)]), 100):
        x, targets = vectors[words[rows]], words[rows]
        for each, values in log_p.items():
            each.loss(x, targets, rows)
            each.update()
            values.append(each.log_prob(x, targets).mean())
    begun, ended = log_p[layer][0], np.mean(log_p[layer][-10:])
    best = np.mean(log_p[full][-10:])
    assert begun < best - 1
    assert abs(ended - best) < 0.2 * (best - begun)


def test_language_model_fails_where_it_learns_too_little(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import language_model\n"
        "reports = [language_model.Report(1, 1, 9, 9)]\n"
        "language_model.train = lambda *_: language_model.History(reports, 1, 1)\n"
        "sys.argv = ['language_model.py', '--quick']; sys.exit(language_model.main())"
    )
    done = run(sys.executable, "-B", "-c", script, cwd=tmp_path)
    assert done.returncode == 1
    assert "learned too little" in done.stderr


def test_tree_of_halves_is_about_as_deep_as_the_best(tmp_path):
    done = run(sys.executable, ROOT / "examples" / "tree_of_halves.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    best = fs.Tree.huffman(100_000 // np.arange(1, 1001)).depth(np.arange(1000))
    least = np.average(best, weights=100_000 // np.arange(1, 1001))
    assert least <= float(done.stdout.split()[-1]) < least + 1


@pytest.mark.parametrize("document", ["README.md", "docs/large_vocabulary.md"])
def test_python_of_documents(document, tmp_path):
    if "import torch" in (script := "\n".join(blocks("python", document))):
        pytest.importorskip("torch")
    unasked = "ignore:Sparse invariant checks:UserWarning"  # by PyTorch's Adagrad
    done = run(sys.executable, "-W", unasked, "-c", script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    promised = re.findall(r"# prints (.*)$", script, flags=re.MULTILINE)
    assert promised
    for words in promised:
        assert words in done.stdout


def test_readme_cpp(tmp_path):
    """The README's program builds against the installed package and prints what the README says."""
    if not (shutil.which("cmake") and (shutil.which("c++") or os.environ.get("CXX"))):
        pytest.skip("needs cmake and a C++ compiler")
    (source,) = blocks("cpp")
    (project,) = blocks("cmake")
    (tmp_path / "main.cpp").write_text(source, encoding="utf-8")
    (tmp_path / "CMakeLists.txt").write_text(project, encoding="utf-8")
    where = run(sys.executable, "-m", "fastsoftmax", "--cmake-dir", cwd=tmp_path)
    assert where.returncode == 0, where.stderr
    for command in (
        ("cmake", "-B", "build", f"-Dfastsoftmax_DIR={where.stdout.strip()}"),
        ("cmake", "--build", "build"),
    ):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run(tmp_path / "build" / "demo")
    promised = re.findall(r"// prints (.*)$", source, flags=re.MULTILINE)
    assert (done.returncode, done.stdout.splitlines()) == (0, promised)


def test_readme_commands_exist():
    """Every option of the command line that the README names is known to the command line."""
    text = "\n".join(blocks("bash"))
    for command in re.findall(r"python -m fastsoftmax (\w+)", text):
        shown = run(sys.executable, "-m", "fastsoftmax", command, "--help")
        assert shown.returncode == 0
        (line, *_) = re.findall(rf"python -m fastsoftmax {command} ?(.*)", text)
        for option in re.findall(r"--[a-z-]+", line):
            assert option in shown.stdout


def test_readme_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target
