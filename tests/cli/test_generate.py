"""`jenga generate` on a small trained model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jenga.cli.main import jenga
from jenga.run import experiment

ROWS = [{"prompt": f"is {n} good", "completion": "yes it is" if n % 3 else "no"} for n in range(30)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_gpt2: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("language")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    settings = {
        "model": {"base_model": str(make_gpt2(positions=128))},
        "tasks": [
            {"name": "lm", "type": "causal_lm", "data_path": str(folder / "rows.jsonl"),
             "generation": {"rows": 2, "max_new_tokens": 4, "exact_match": True}},
        ],
        "data": {"max_length": 48}, "training": {"max_steps": 2, "batch_size": 8}, "tracking": {"enabled": False},
        "output_dir": str(folder / "runs"),
    }  # fmt: skip
    return experiment.train(settings, device="cpu").run


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def generate(trained: Path) -> Callable[..., Result]:
    runner = CliRunner()

    def run(*arguments: object, given: str | None = None) -> Result:
        words = ["generate", str(trained), *map(str, arguments), "--device", "cpu", "--max-new-tokens", "3"]
        return runner.invoke(jenga, words, input=given, prog_name="jenga")

    return run


def test_one_prompt_is_answered_as_plain_text(generate: Callable[..., Result]) -> None:
    result = generate("--prompt", "is 3 good")
    assert result.exit_code == 0, result.stderr
    assert not result.stdout.startswith("{")
    assert "is 3 good" not in result.stdout


def test_several_prompts_are_json_lines(generate: Callable[..., Result]) -> None:
    found = lines(generate("--prompt", "is 3 good", "--prompt", "is 4 good"))
    assert [(row["id"], row["prompt"]) for row in found] == [("1", "is 3 good"), ("2", "is 4 good")]
    assert all(isinstance(row["text"], str) for row in found)


def test_a_file_is_read_as_in_training_and_its_answers_left_out(
    generate: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "new.jsonl"
    rows = [{"id": "a", "prompt": "is 3 good", "completion": "yes"}, {"id": "b", "prompt": ""}, {"prompt": "is 5 good"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = lines(generate(path))
    assert [row["id"] for row in found] == ["a", "b", "3"]
    assert found[0]["prompt"] == "is 3 good"
    assert "column 'prompt' is empty" in found[1]["error"]


def test_standard_input_holds_a_prompt_a_line_or_json(generate: Callable[..., Result]) -> None:
    plain = lines(generate("-", given="is 3 good\nis 4 good\n"))
    rows = lines(generate("-", given='{"prompt": "is 3 good"}\n{"prompt": "is 4 good"}\n'))
    assert [row["text"] for row in plain] == [row["text"] for row in rows]


def test_answers_go_to_a_file_that_is_whole_or_not_there(generate: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    result = generate("--prompt", "is 3 good", "-o", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert json.loads(out.read_text())["prompt"] == "is 3 good"
    assert list(tmp_path.iterdir()) == [out]


def test_drawn_answers_follow_the_seed(generate: Callable[..., Result]) -> None:
    def drawn(seed: int) -> list[str]:
        given = "".join(f"is {n} good\n" for n in range(8))
        return [row["text"] for row in lines(generate("-", "--temperature", 3, "--seed", seed, given=given))]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Give FILE (- for standard input), or --prompt."),
        (["rows.jsonl", "--prompt", "x"], 2, "Give FILE or --prompt, not both."),
        (["--prompt", "x", "--task", "mood"], 2, "task 'mood' generates nothing; those that do: lm"),
        (["--prompt", "x", "--top-p", "0"], 2, "--top-p"),
        (["nowhere.jsonl"], 3, "no such file"),
        (["--prompt", "good " * 90], 3, "the prompt has"),
    ],
)
def test_what_cannot_be_answered_says_why(
    generate: Callable[..., Result], arguments: list[str], code: int, words: str
) -> None:
    result = generate(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_without_a_language_task_sends_to_predict(run: Path) -> None:
    result = CliRunner().invoke(jenga, ["generate", str(run), "--prompt", "x"], prog_name="jenga")
    assert result.exit_code == 2
    assert "use jenga predict" in result.stderr


def test_predict_and_evaluate_know_language_tasks(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text(json.dumps({"id": "a", "prompt": "is 3 good"}) + "\n" + json.dumps({"id": "b"}) + "\n")
    runner = CliRunner()
    found = lines(runner.invoke(jenga, ["predict", str(trained), str(path), "--device", "cpu"]))
    assert set(found[0]["lm"]["text"]) == {"text"}
    assert "error" in found[1]
    (tmp_path / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:5]))
    for extra in ([], ["--data", str(tmp_path / "judged.jsonl")]):
        done = runner.invoke(jenga, ["evaluate", str(trained), *extra, "--json", "--device", "cpu"])
        assert done.exit_code == 0, done.stderr
        (head,) = json.loads(done.stdout)["heads"]
        assert set(head["metrics"]) == {"perplexity", "exact_match"}
        assert len(head["details"]["answers"]) == 2


def test_what_training_wrote_is_what_evaluate_says(trained: Path) -> None:
    from jenga.inference.loading import load

    written = json.loads((trained / "evaluation.json").read_text())["splits"]["test"]
    found = load(trained, device="cpu").evaluate(split="test")
    assert found["heads"][0]["details"]["answers"] == written["heads"][0]["details"]["answers"]
    assert found["metrics"] == pytest.approx(written["metrics"], rel=1e-6)
