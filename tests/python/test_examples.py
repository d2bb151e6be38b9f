"""The examples and the README do what they say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


def run(*command, **options):
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def blocks(language):
    """The README's code blocks in one language, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
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


def test_language_model_learns(tmp_path):
    pytest.importorskip("matplotlib")
    script = ROOT / "examples" / "language_model.py"
    done = run(sys.executable, "-B", script, "--quick", "--plot", "curve.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = re.findall(
        r"^ +([\d.]+) +[\d.]+ +([\d.]+) +([\d.]+) +([\d.]+)$", done.stdout, re.MULTILINE
    )
    epochs, training, validation, perplexity = (
        list(map(float, c)) for c in zip(*rows, strict=True)
    )
    assert epochs == [0.25, 0.5, 0.75, 1]
    assert training == sorted(training, reverse=True)
    assert validation == sorted(validation, reverse=True)
    held_out = dict(
        re.findall(r"^perplexity on held-out text, (.+?) +([\d.]+)$", done.stdout, re.MULTILINE)
    )
    unigram, bigram, ours = (float(held_out[name]) for name in ("unigram", "bigram", "this model"))
    assert 50 < ours == perplexity[-1] < 0.6 * unigram
    assert ours < bigram < 0.7 * unigram
    share = re.search(
        r"[\d.]+ ms for a step of 1024 words, (\d+)% of them in the output layer", done.stdout
    )
    assert 20 < int(share[1]) < 100
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)
    assert os.listdir(tmp_path) == ["curve.png"]


def test_language_model_fails_where_it_learns_too_little(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import language_model\n"
        "language_model.train = lambda *_: [language_model.Report(1, 1, 9, 9)]\n"
        "sys.argv = ['language_model.py', '--quick']; sys.exit(language_model.main())"
    )
    done = run(sys.executable, "-B", "-c", script, cwd=tmp_path)
    assert done.returncode == 1
    assert "learned too little" in done.stderr


def test_readme_python(tmp_path):
    script = "\n".join(blocks("python"))
    done = run(sys.executable, "-c", script, cwd=tmp_path)
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
