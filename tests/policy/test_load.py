"""What is wrong with a policy file is told at its place, with what is allowed and the fix."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jsonschema
import pytest

from jenga.errors import ConfigError
from jenga.policy.load import Answered, PolicyFile, ended, json_schema, read_policy

GOOD = """\
rules:
  - name: flood
    when: {task: triage, head: threat, label: [dos, probe], min_probability: 0.9}
    identity: [src_ip, user.name]
    severity: high
    cooldown_s: 60
    actions: [log, block]
allow:
  - fields: {src_ip: 10.0.0.0/8}
    until: 2999-01-31
    rules: [flood]
hooks:
  block: {run: [/usr/local/bin/block, --now], timeout_s: 2}
"""
CLASSES = frozenset({"label", "probability"})
MODEL = {
    "triage": {
        "threat": Answered(("dos", "normal", "probe"), CLASSES),
        "size": Answered(("value",), frozenset({"value"})),
    },
    "outliers": {"odd": Answered(("normal",), frozenset({"score", "alert"}))},
    "QA": {
        "a": Answered(("says_no",), CLASSES),
        "b": Answered(("shouts",), CLASSES),
        "": Answered((), frozenset({"score"})),
    },
    "chat": {"answer": Answered((), frozenset())},
}


def read(folder: Path, text: str) -> PolicyFile:
    path = folder / "policy.yml"
    path.write_text(text)
    return read_policy(path)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(folder, text)
    return [str(each).removeprefix(f"{folder}/") for each in error.value.problems]


def test_a_good_file_is_read_with_its_digest(tmp_path: Path) -> None:
    file = read(tmp_path, GOOD)
    assert file.digest == hashlib.sha256(GOOD.encode()).hexdigest()
    assert file.config.dry_run is True
    assert file.config.rules[0].identity == ["src_ip", "user.name"]
    assert file.path("alerts.jsonl") == tmp_path / "alerts.jsonl"
    assert file.path("/var/log/alerts.jsonl") == Path("/var/log/alerts.jsonl")
    assert ended(read(tmp_path, GOOD.replace("2999", "2001")).config) == [0]
    jsonschema.validate(file.document.data, json_schema())


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("cooldown_s", "cooldown", "6:5: rules[0].cooldown: unknown key; did you mean 'cooldown_s'? Known: "),
        ("60", "'60'", "6:17: rules[0].cooldown_s: needs a number, got text '60'; remove the quotes"),
        ("60", "-1", "6:17: rules[0].cooldown_s: must be at least 0, got -1"),
        ("high", "hihg", "5:15: rules[0].severity: unknown 'hihg'; did you mean 'high'? Known: low, "),
        ("0.9", "90", "3:78: rules[0].when.min_probability: must be at most 1, got 90"),
        ("[dos, probe]", "dos", "3:47: rules[0].when.label: needs a list, got text 'dos'"),
        ("[dos, probe]", "[]", "3:47: rules[0].when.label: needs at least 1 item, got none"),
        ("[dos, probe]", "[1]", "3:48: rules[0].when.label[0]: needs text, got 1; put it in quotes: '1'"),
        ("task: triage, ", "", "3:5: rules[0].when.task: required key is missing"),
        (", label: [dos, probe], min_probability: 0.9", "", "3:11: rules[0].when: every answer would fit"),
        ("[log, block]", "[blok]", "7:15: rules[0].actions[0]: no hook is called 'blok'; did you mean 'block'?"),
        ("user.name]", "'users[*]']", "4:24: rules[0].identity[1]: 'users[*]' leads to several values"),
        (
            "10.0.0.0/8",
            "10.1.2.3/8",
            "9:22: allow[0].fields.src_ip: '10.1.2.3/8' is an address inside a network; write",
        ),
        (
            "{src_ip: 10",
            "{scr_ip: 10",
            "9:14: allow[0].fields.scr_ip: no identity of its rules has this field; did you",
        ),
        ("2999-01-31", "tomorrow", "10:12: allow[0].until: 'tomorrow' is no time; write one such as"),
        ("[flood]", "[floods]", "11:13: allow[0].rules[0]: no rule is called 'floods'; did you mean 'flood'?"),
        ("[/usr/local/bin/block, --now]", "block", "13:16: hooks.block.run: needs a list, got text"),
        ("[/usr/local/bin/block,", "['',", "13:17: hooks.block.run[0]: must not be empty: it is the program"),
        ("timeout_s: 2", "timeout_s: 0", "13:58: hooks.block.timeout_s: must be greater than 0, got 0"),
        ("  block:", "  log:", "13:3: hooks.log: 'log' is what every alert does"),
        ("hooks:", "dry_run: no\nhooks:", "12:10: dry_run: needs true or false, got text 'no'; write false"),
        ("hooks:", "key_file: a\nkey_env: B\nhooks:", "13:10: key_env: key_file and key_env both name the secret"),
        ("hooks:", "time: 'ts[*]'\nhooks:", "12:7: time: 'ts[*]' leads to several values"),
        ("hooks:", "keep: [uid, 'ips[*]']\nhooks:", "12:13: keep[1]: 'ips[*]' leads to several values"),
    ],
)
def test_a_mistake_is_told_at_its_place(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert GOOD.count(old) >= 1
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert any(each.startswith(f"policy.yml:{wanted}") for each in found), found


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("high", "hihg").replace("60", "-1").replace("timeout_s", "timeout"))
    assert len(found) == 3
    found = problems(tmp_path, GOOD.replace("[log, block]", "[blok]").replace("10.0.0.0/8", "10.0.0.1/8"))
    assert len(found) == 2


def test_rules_of_one_name_and_bounds_that_nothing_meets_are_refused(tmp_path: Path) -> None:
    rule = "  - {name: flood, when: {task: t, min_score: 0.9, max_score: 0.1}, identity: []}\n"
    found = problems(tmp_path, f"rules:\n{rule}{rule}")
    assert [each.partition(": ")[2] for each in found] == [
        "rules[0].when.max_score: 0.1 is less than min_score, 0.9, so nothing fits",
        "rules[1].name: 'flood' is the name of rules[0] already",
        "rules[1].when.max_score: 0.1 is less than min_score, 0.9, so nothing fits",
    ]


def test_fields_that_no_one_rule_has_together_are_refused(tmp_path: Path) -> None:
    rules = "rules:\n" + "".join(
        f"  - {{name: {name}, when: {{task: t, alert: true}}, identity: [{name}_ip]}}\n" for name in ("src", "dst")
    )
    (found,) = problems(tmp_path, f"{rules}allow:\n  - fields: {{src_ip: a, dst_ip: b}}\n")
    assert found.endswith("allow[0].fields: no one rule has all of these fields in its identity")


def test_an_empty_file_is_told_what_it_needs(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == ["policy.yml: the file is empty; it must have at least 'rules'"]
    with pytest.raises(ConfigError, match="no such file"):
        read_policy(tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("when", "wanted"),
    [
        (
            "{task: triag, alert: true}",
            "3:18: rules[0].when.task: the model has no task 'triag'; did you mean 'triage'?",
        ),
        ("{task: QA, head: c, alert: true}", "head: task 'QA' has no head 'c'. It has: a, b"),
        ("{task: triage, label: [dos]}", "when.task: task 'triage' has several heads; name one (head): threat, size"),
        (
            "{task: triage, head: threat, label: [dos, prob]}",
            "3:53: rules[0].when.label[1]: the answers of triage.threat are never 'prob'; did you mean 'probe'? L",
        ),
        (
            "{task: triage, head: threat, alert: true}",
            "when.alert: the answers of triage.threat hold no alert; they hold: label, probability",
        ),
        ("{task: triage, head: size, min_score: 1}", "the answers of triage.size hold no score; they hold: value"),
        ("{task: outliers, label: [normal]}", "the answers of outliers.odd hold no label; they hold: alert, score"),
        ("{task: QA, label: [shouts]}", "the answers of QA hold no label; they hold: score"),
        ("{task: chat, label: [x]}", "the answers of chat.answer hold no label; no rule can judge them"),
    ],
)
def test_what_the_model_never_answers_is_told_with_what_it_does(tmp_path: Path, when: str, wanted: str) -> None:
    file = read(tmp_path, f"rules:\n  - name: r\n    when: {when}\n    identity: []\n")
    with pytest.raises(ConfigError) as error:
        file.check(MODEL)
    assert wanted in str(error.value)


@pytest.mark.parametrize(
    "when",
    [
        "{task: triage, head: threat, label: [dos], min_probability: 0.5}",
        "{task: triage, head: size, min_value: 1}",
        "{task: outliers, alert: true, min_score: 0.5}",
        "{task: QA, max_score: 0.5}",
        "{task: QA, head: b, label: [shouts]}",
    ],
)
def test_what_the_model_answers_is_taken(tmp_path: Path, when: str) -> None:
    read(tmp_path, f"rules:\n  - name: r\n    when: {when}\n    identity: []\n").check(MODEL)
