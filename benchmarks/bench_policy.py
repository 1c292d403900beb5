"""What a policy costs in processor time: `jenga predict` with one and without, on generated network flows.

The flows are scored by a model that is trained in seconds, and answered as the command does it, to /dev/null.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paired import SMOKE, PairedRatio, compare

import jenga
from jenga.cli.predict import _few_collections, _write
from jenga.inference.answered import answered
from jenga.inference.predictor import Predictor
from jenga.inference.written import written
from jenga.policy import Enforcer, Policy
from jenga.samples.network import generate_flows

N_ROWS, ROUNDS = (300, 2) if SMOKE else (100_000, 5)
NEVER = "{name: never, when: {task: find, min_score: 2.0}, identity: [src_ip], cooldown_s: 300}"
ALERTS = "{name: alerts, when: {task: find, alert: true}, identity: [src_ip, dst_ip], cooldown_s: 300}"
POLICIES = {
    "no rule fits": f"rules: [{NEVER}]",
    "a rule of alerts": f"time: timestamp\nmax_identities: 1000000\nrules: [{ALERTS}]",
    "ten rules": "rules: [" + ", ".join(NEVER.replace("name: never", f"name: never{at}") for at in range(10)) + "]",
}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("flows")
    (folder / "flows.json").write_text(json.dumps(generate_flows(2000)))
    task = {"name": "find", "type": "anomaly_detection", "data_path": str(folder / "flows.json"), "mode": "supervised"}
    config: dict[str, Any] = {
        "model": {"base_model": "security_mlp_v1", "backbone_type": "sequential"},
        "tasks": [{**task, "heads": [{"name": "threat", "num_labels": 2}]}],
        "training": {"max_steps": 200, "batch_size": 64},
        "tracking": {"enabled": False},
        "output_dir": str(folder),
    }
    return jenga.load(jenga.train(config).run)


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of flows, one after the other in time: those of one sample, repeated with other ids."""
    path = tmp_path_factory.mktemp("rows") / "flows.jsonl"
    sample = generate_flows(min(N_ROWS, 20_000), seed=1)
    with path.open("w") as file:
        for number in range(N_ROWS):
            file.write(json.dumps({**sample[number % len(sample)], "id": f"f{number}"}) + "\n")
    return str(path)


def scoring(predictor: Predictor, flows: str, folder: Path, text: str | None) -> Callable[[], object]:
    def run() -> None:
        policy = None
        if text is not None:
            for each in folder.iterdir():
                each.unlink()
            (folder / "policy.yml").write_text(text)
            policy = Policy.load(folder / "policy.yml")
            policy.check(answered(predictor.bundle))
        session = predictor.session(whole=policy is not None)
        whole = policy is not None
        answers = session.stream(session.read(flows), drivers=False)
        parts = written(answers, frozenset({"find"}), whole=whole)
        if policy is None:
            with _few_collections():
                _write(parts, "/dev/null", None)
            return
        with Enforcer(policy) as guard, _few_collections():
            _write(parts, "/dev/null", guard)

    return run


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_against_none(
    name: str,
    predictor: Predictor,
    flows: str,
    tmp_path: Path,
    report_ratio: Callable[[str, PairedRatio], None],
) -> None:
    (tmp_path / "policy").mkdir()
    with_policy = scoring(predictor, flows, tmp_path / "policy", POLICIES[name])
    without = scoring(predictor, flows, tmp_path, None)
    ratio = compare(with_policy, without, rounds=ROUNDS, min_round_s=0.0, warmup=1, clock=time.process_time)
    report_ratio(f"predict --no-drivers, 100,000 flows: {name} / no policy", ratio)
    assert (tmp_path / "policy" / "alerts.jsonl").stat().st_size > 0 or name != "a rule of alerts"
