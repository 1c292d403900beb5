import gzip
import io
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from jenga.errors import ConfigError, DataError, JengaError, SetupError
from jenga.inference import predictor as module
from jenga.inference.live import Limits
from jenga.inference.loading import load
from jenga.inference.predictor import Predictor
from jenga.inference.reading import Parsed, Reader
from jenga.rows.raw import RawRows
from jenga.run import experiment
from jenga.samples.network import generate_flows
from jenga.trainer.evaluate import choose_device

TEXT = "Agent: Hello, you speak with Asha. Caller: This is Otieno from Kisumu."


# load


def test_run_folder_and_its_best_folder_give_the_same_model(run: Path, predictor: Predictor) -> None:
    assert load(run / "best", device="cpu").predict(TEXT) == predictor.predict(TEXT)


def test_harmed_model_is_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run / "best", tmp_path / "best")
    weights = copy / "heads.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SetupError, match=r"heads\.safetensors has another checksum"):
        load(copy)


def test_unknown_device_is_a_usage_mistake_and_a_missing_one_an_environment_mistake() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cuda'"):
        choose_device("cuba")
    if not torch.backends.mps.is_available():
        with pytest.raises(SetupError, match="no mps"):
            choose_device("mps")
    assert choose_device("cpu").type == "cpu"


# predict


def test_text_list_and_mapping_get_the_same_answer(predictor: Predictor) -> None:
    [answer] = predictor.predict(TEXT)
    assert predictor.predict([TEXT]) == [answer]
    assert predictor.predict([{"text": TEXT}]) == [answer]
    assert predictor.predict([{"id": "call-7", "text": TEXT}]) == [{**answer, "id": "call-7"}]


def test_every_kind_of_head_answers_in_its_own_form(predictor: Predictor) -> None:
    [answer] = predictor.predict(TEXT)
    assert list(answer) == ["id", "QA", "sentiment", "names", "length"]
    assert list(answer["QA"]["closing"]) == [
        "summarises_call", "says_goodbye_politely", "gives_reference", "score",
    ]  # fmt: skip
    assert list(answer["QA"]["closing"]["summarises_call"]) == ["value", "probability"]
    assert answer["QA"]["grade"]["label"] in {"0", "1", "2"}
    assert answer["sentiment"]["feeling"]["label"] in {"negative", "neutral", "positive"}
    assert isinstance(answer["names"]["entities"]["entities"], list)
    assert isinstance(answer["length"]["words"]["value"], float)
    json.dumps(answer, allow_nan=False)


def test_probabilities_of_all_classes_come_when_asked_for(predictor: Predictor) -> None:
    [answer] = predictor.predict(TEXT, probabilities=True)
    feeling = answer["sentiment"]["feeling"]
    assert list(feeling["probabilities"]) == ["negative", "neutral", "positive"]
    assert sum(feeling["probabilities"].values()) == pytest.approx(1, abs=3e-6)  # three numbers of six digits
    assert feeling["probability"] == max(feeling["probabilities"].values())


def test_numbers_are_in_the_unit_of_the_training_rows(predictor: Predictor) -> None:
    # Targets are 1000 and something; a head that forgot its scale would answer around 0.
    assert 1050 < predictor.predict(TEXT)[0]["length"]["words"]["value"] < 1160


def test_items_follow_the_thresholds_of_the_bundle(run: Path) -> None:
    own = load(run, device="cpu")
    for threshold, value in ((0.0, True), (1.0, False)):
        own.bundle.thresholds["QA", "closing"] = np.full(3, threshold)
        closing = own.predict(TEXT)[0]["QA"]["closing"]
        assert [closing[item]["value"] for item in ("summarises_call", "gives_reference")] == [value, value]


def test_entities_are_spans_of_the_given_text(run: Path, rows: list[dict[str, Any]]) -> None:
    own = load(run, device="cpu")
    # Three steps teach nothing but O; random weights find entities everywhere.
    torch.nn.init.normal_(own.model.tasks["names"].heads.weight, generator=torch.Generator().manual_seed(0))
    texts = [row["text"] for row in rows] + ["Karibu \N{ELEPHANT} Nai\u0301robi, Asha!"]
    found = 0
    for text, answer in zip(texts, own.predict(texts), strict=True):
        for entity in answer["names"]["entities"]["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"] != ""
            assert entity["label"] in {"PERSON", "LOCATION", "PHONE", "DATE", "ORGANISATION"}
            assert 0 < entity["probability"] <= 1
            found += 1
    assert found > len(texts)


def test_rows_given_as_words_get_a_tag_a_word(predictor: Predictor) -> None:
    words = ["Otieno's", "call", "from", "Kisumu"]
    by_words, by_text = predictor.predict([{"tokens": words}, {"tokens": "Otieno's call"}])
    assert len(by_words["names"]["entities"]["tags"]) == len(words)
    assert "tags" not in by_text["names"]["entities"]


def test_order_is_kept_across_chunks_and_batches(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXT * (1 + n * 7 % 5) for n in range(11)]
    # Rows of another length share a batch, which may move the last digits of float32.
    alone = [predictor.predict(text)[0]["length"]["words"]["value"] for text in texts]
    monkeypatch.setattr(module, "PIECE_ROWS", 4)
    together = predictor.predict(texts, batch_size=3)
    assert [row["id"] for row in together] == [str(n) for n in range(1, 12)]
    assert [row["length"]["words"]["value"] for row in together] == pytest.approx(alone, rel=1e-5)


def test_a_stream_holds_the_parsed_rows_of_one_chunk_at_a_time(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []
    sizes: list[int] = []
    parse = Reader.parse

    def kept(self: Reader, piece: RawRows) -> Parsed:
        parsed = parse(self, piece)
        made.append(weakref.ref(parsed))
        sizes.append(len(parsed.rows))
        return parsed

    monkeypatch.setattr(Reader, "parse", kept)
    monkeypatch.setattr(module, "PIECE_ROWS", 4)
    for at, _ in enumerate(predictor.stream([TEXT] * 14)):
        assert sum(sizes) <= (at // 4 + 1) * 4
        assert sum(each() is not None for each in made) <= 1
    assert sizes == [4, 4, 4, 2]


def test_unusable_row_is_an_error_in_its_place(predictor: Predictor) -> None:
    answers = predictor.predict([{"text": TEXT}, {"id": "b", "text": " "}, {"text": TEXT}])
    assert answers[1] == {"id": "b", "error": "column 'text' is empty; allowed: text"}
    assert [set(answer) >= {"QA", "sentiment"} for answer in answers] == [True, False, True]


def test_what_is_no_row_at_all_is_an_error_in_its_place(predictor: Predictor) -> None:
    answers = predictor.predict([None, {"text": TEXT}])  # type: ignore[list-item]
    assert answers[0] == {"id": "1", "error": "the row is null, not an object with columns"}
    assert "QA" in answers[1]


def test_rows_without_any_text_column_raise_and_name_the_columns_found(predictor: Predictor) -> None:
    with pytest.raises(DataError, match=r"no column '.*'text'.* Columns found: transcript"):
        predictor.predict([{"transcript": TEXT}])


def test_no_rows_give_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_longer_texts_are_told_to_be_cut(predictor: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    predictor.predict([TEXT, TEXT * 20])
    assert "1 of 2 rows are longer than 64 tokens" in caplog.text


def test_a_table_is_answered_as_its_rows_are(predictor: Predictor) -> None:
    rows = [{"id": "a", "text": TEXT}, {"id": "b", "text": TEXT[:9]}]
    assert predictor.predict(pyarrow.Table.from_pylist(rows)) == predictor.predict(rows)


def test_an_encoder_may_say_how_many_tokens_are_read_at_once(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (encoder,) = predictor.bundle.inputs
    monkeypatch.setattr(predictor.bundle.inputs[encoder], "tokens_at_once", 50)
    assert predictor._runner(None).batch_tokens == {encoder: 50}
    assert predictor._runner(4).batch_tokens == {}


def test_batch_size_below_one_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ConfigError, match="batch_size: got 0"):
        predictor.predict(TEXT, batch_size=0)


# logits


def test_logits_are_bit_equal_before_and_after_saving(predictor: Predictor, tmp_path: Path) -> None:
    before = predictor.logits([TEXT, TEXT * 2])
    predictor.bundle.save(tmp_path / "copy")
    after = load(tmp_path / "copy", device="cpu").logits([TEXT, TEXT * 2])
    assert before.keys() == after.keys() == set(predictor.bundle.spaces)
    for key, wanted in before.items():
        for a, b in zip(wanted, after[key], strict=True):
            assert torch.equal(a, b)


def test_logits_refuse_a_row_that_they_would_have_to_leave_out(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="the given rows:2: column 'text' is empty"):
        predictor.logits([TEXT, ""])


# evaluate


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_of_the_runs_own_rows_repeats_evaluation_json(run: Path, predictor: Predictor, split: str) -> None:
    wanted = json.loads((run / "evaluation.json").read_text())["splits"][split]
    found = json.loads(json.dumps(predictor.evaluate(split=split)))
    assert found["rows"] == wanted["rows"]
    assert found["metrics"] == wanted["metrics"]
    for ours, theirs in zip(found["heads"], wanted["heads"], strict=True):
        assert {**ours, "baselines": None} == {**theirs, "baselines": None}


def test_file_with_the_labels_of_one_task_judges_that_task(
    predictor: Predictor, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(json.dumps({"text": row["text"], "sentiment": row["sentiment"]}) for row in rows))
    found = predictor.evaluate(str(path))
    assert [(head["task"], head["head"], head["rows"]) for head in found["heads"]] == [("sentiment", "feeling", 60)]
    assert found["metrics"]["loss"] == found["metrics"]["sentiment_loss"] > 0


def test_file_without_labels_is_refused_with_the_columns_that_are_looked_for(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "bare.jsonl"
    path.write_text(json.dumps({"text": TEXT}))
    with pytest.raises(DataError, match=r"no row has a label; .*QA\.closing \('labels\.closing' or 'closing'\)"):
        predictor.evaluate(str(path))


def test_unusable_rows_of_a_file_do_not_count_and_are_told(
    predictor: Predictor, rows: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "some.jsonl"
    odd = {**rows[0], "text": ""}
    path.write_text("\n".join(map(json.dumps, [odd, *[rows[1]] * 99])))
    assert predictor.evaluate(str(path))["rows"] == 99
    assert "1 rows cannot be used" in caplog.text
    path.write_text("\n".join(map(json.dumps, [odd, odd, *[rows[1]] * 98])))
    with pytest.raises(DataError, match=r"some\.jsonl: 2 of 100 rows cannot be used; .* Correct the rows, or take out"):
        predictor.evaluate(str(path))


def test_labels_that_changed_since_training_are_refused(run: Path, rows_file: Path) -> None:
    own = load(run, device="cpu")
    content = rows_file.read_text(encoding="utf-8")
    try:
        rows_file.write_text(content.replace('"neutral"', '"calm"'), encoding="utf-8")
        with pytest.raises(DataError, match="other labels now"):
            own.evaluate()
    finally:
        rows_file.write_text(content, encoding="utf-8")


def test_every_refusal_is_an_error_for_users(predictor: Predictor) -> None:
    with pytest.raises(JengaError):
        predictor.evaluate("no-such-file.jsonl")


# events


def test_events_get_the_same_answers_in_every_form(
    detector: Predictor, flows: list[dict[str, Any]], tmp_path: Path
) -> None:
    wanted = detector.predict(flows)
    assert [answer["id"] for answer in wanted] == [flow["id"] for flow in flows]
    assert list(wanted[0]) == ["id", "find", "size", "marks"]
    lines = [json.dumps(flow) for flow in flows]
    assert detector.predict(lines) == detector.predict([line.encode() for line in lines]) == wanted
    (tmp_path / "new.jsonl").write_text("\n".join(lines))
    (tmp_path / "new.json").write_text(json.dumps(flows, indent=1))
    for name in ("new.jsonl", "new.json"):
        assert detector.predict(detector.read(str(tmp_path / name))) == wanted
    assert detector.predict(detector.read(json.dumps(flows).encode())) == wanted
    assert detector.predict(flows[0]) == detector.predict(lines[0]) == detector.predict(flows[:1])


def test_unusable_events_are_errors_in_their_place(detector: Predictor, flows: list[dict[str, Any]]) -> None:
    rows: list[Any] = [flows[0], "{", None, {**flows[1], "bytes_out": float("nan")}, flows[2]]
    answers = detector.predict(rows)
    assert [set(answer) == {"id", "error"} for answer in answers] == [False, True, True, True, False]
    assert [answer["id"] for answer in answers] == [flows[0]["id"], "2", "3", "4", flows[2]["id"]]
    assert answers[2]["error"] == "the row is null, not an object with columns"
    assert answers[3]["error"].startswith("nan token at /bytes_out")
    with pytest.raises(DataError, match="the given rows:2: "):
        detector.logits(rows)


def test_strings_nulls_new_categories_and_missing_fields_of_an_event_are_answered(
    detector: Predictor, flows: list[dict[str, Any]]
) -> None:
    odd = {**flows[0], "bytes_out": "1200", "service": "gopher", "protocol": None, "new": 1}
    for name in ("src_ip", "dst_ip", "src_port"):
        del odd[name]
    assert "find" in detector.predict(odd)[0]
    [answer] = detector.predict({"bytes_out": 1200, "service": "gopher"})
    assert answer.keys() == {"id", "error"}
    assert "fields that the training rows have" in answer["error"]
    as_text = {**flows[0], "bytes_out": str(flows[0]["bytes_out"])}
    assert detector.predict(as_text) == detector.predict(flows[0])
    assert detector.predict({**flows[0], "bytes_out": 9e9}) != detector.predict(flows[0])


def test_a_renamed_field_is_told_with_the_name_that_it_may_have_now(
    detector: Predictor, flows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    detector.predict([{("bytes_sent" if key == "bytes_out" else key): value for key, value in flows[0].items()}])
    assert "no event has 'bytes_out'" in caplog.text
    with pytest.raises(DataError, match=r"no column .* Columns found: source, target"):
        detector.predict([{"source": 1, "target": 2}])


def test_no_events_give_no_answers(detector: Predictor) -> None:
    assert detector.predict([]) == []


def test_the_time_since_the_event_before_runs_on_across_chunks(
    detector: Predictor, flows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = detector.predict(flows)
    monkeypatch.setattr(module, "PIECE_ROWS", 3)
    found = detector.predict(flows)
    for one, other in zip(wanted, found, strict=True):
        assert other["size"]["bytes"]["value"] == pytest.approx(one["size"]["bytes"]["value"], rel=1e-5)


class Counted(list[int]):
    """A list that counts the items that are taken from it."""

    taken = 0

    def __iter__(self) -> Iterator[int]:
        Counted.taken += len(self)
        return super().__iter__()

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        Counted.taken += len(found) if isinstance(at, slice) else 1
        return found


def test_alerts_are_explained_in_work_that_grows_with_the_rows_alone(
    event_settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = {"name": "threat", "normal": "0", "target_fpr": 0.5}
    task = {"type": "anomaly_detection", "heads": [head]}
    trained = experiment.train(event_settings(generate_flows(120), task, training={"max_steps": 2}), device="cpu").run
    own = load(trained, device="cpu")
    monkeypatch.setattr(module, "PIECE_ROWS", 4)

    events = own.read(json.dumps(generate_flows(40, seed=2)).encode())
    assert "drivers" in json.dumps(own.predict(events))
    assert "drivers" not in json.dumps(own.predict(events, drivers=False))

    def work(count: int) -> int:
        events = own.read(json.dumps(generate_flows(count, seed=2)).encode())
        events.numbers = Counted(events.numbers)
        Counted.taken = 0
        found = own.predict(events)
        assert [answer["id"] for answer in found] == [f"flow-{number:05d}" for number in range(count)]
        assert any("drivers" in answer["find"]["threat"] for answer in found[-8:])
        return Counted.taken

    assert work(80) <= 2.2 * work(40)


def test_a_model_of_events_is_judged_on_its_own_and_on_new_rows(
    detector: Predictor, event_run: Path, flows: list[dict[str, Any]], tmp_path: Path
) -> None:
    saved = json.loads((event_run / "evaluation.json").read_text())["splits"]["test"]
    assert detector.evaluate()["metrics"] == pytest.approx(saved["metrics"])
    (tmp_path / "new.json").write_text(json.dumps(flows))
    found = detector.evaluate(str(tmp_path / "new.json"))
    assert found["rows"] == len(flows)
    assert {head["head"] for head in found["heads"]} == {"threat", "bytes"}  # no event has `odd`


def test_a_file_without_labels_teaches_what_is_normal_but_judges_nothing(
    event_settings: Callable[..., dict[str, Any]], flows: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = [{key: value for key, value in flow.items() if key != "threat"} for flow in generate_flows(120)]
    task = {"type": "anomaly_detection", "mode": "unsupervised", "heads": [{"name": "threat", "num_labels": 2}]}
    trained = experiment.train(event_settings(rows, task), device="cpu").run
    own = load(trained, device="cpu")
    assert "score" in own.predict(flows)[0]["find"]["threat"]
    (tmp_path / "new.json").write_text(json.dumps(rows))
    columns = r"find\.threat \('labels\.threat' or 'label' or 'labels' or 'threat'\)"
    with pytest.raises(DataError, match=f"no row has a label; the model's heads and their columns: {columns}"):
        own.evaluate(str(tmp_path / "new.json"))
    for names in (("normal", "attack"), (0, 1)):
        labelled = [{**row, "threat": names[at % 3 == 0]} for at, row in enumerate(rows)]
        (tmp_path / "new.json").write_text(json.dumps(labelled))
        found = own.evaluate(str(tmp_path / "new.json"))
        assert [(each["label"], each["support"]) for each in found["heads"][0]["details"]["per_label"]] == [
            ("normal", 80), ("anomaly", 40),
        ]  # fmt: skip


def test_bytes_are_read_as_standard_input_holds_them(predictor: Predictor) -> None:
    wanted = predictor.predict([TEXT, "Hello."])
    lines = [json.dumps({"text": text}) for text in (TEXT, "Hello.")]
    for content in (f"{TEXT}\nHello.", "\n".join(lines), f"[{', '.join(lines)}]"):
        assert predictor.predict(predictor.read(content.encode())) == wanted


def test_only_a_model_of_texts_takes_a_row_that_is_just_its_text(predictor: Predictor, detector: Predictor) -> None:
    assert predictor.takes_texts
    assert not detector.takes_texts


# rows that come one after the other


def lines_of(rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_lines_are_answered_while_the_pipe_stays_open(detector: Predictor, flows: list[dict[str, Any]]) -> None:
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as stream:
        answers = detector.follow(stream, limits=Limits(wait_s=0.0))
        for flow in flows[:3]:
            os.write(writes, lines_of([flow]))
            assert [answer["id"] for answer in next(answers)] == [flow["id"]]
        os.close(writes)
        assert list(answers) == []


@pytest.mark.parametrize("rows", [1, 7, 2048])
def test_batches_change_no_answer_and_no_number(detector: Predictor, flows: list[dict[str, Any]], rows: int) -> None:
    content = lines_of(flows[:4]) + b"{\n\n" + lines_of({**flow, "id": None} for flow in flows[4:8])
    wanted = detector.predict(detector.read(content))
    found = [each for batch in detector.follow(io.BytesIO(content), limits=Limits(rows=rows)) for each in batch]
    assert [each["id"] for each in found] == [each["id"] for each in wanted]
    assert [each["id"] for each in found][4:] == ["5", "7", "8", "9", "10"]
    for one, other in zip(wanted, found, strict=True):
        assert one.keys() == other.keys()
        if "size" in one:
            assert other["size"]["bytes"]["value"] == pytest.approx(one["size"]["bytes"]["value"], rel=1e-5)


def test_a_log_of_zeeks_is_answered_as_its_json_in_a_file_and_in_a_pipe(
    detector: Predictor, flows: list[dict[str, Any]], tmp_path: Path
) -> None:
    kinds = {int: "count", float: "double"}
    names = list(flows[0])
    known = [next((type(flow[name]) for flow in flows if flow[name] is not None), str) for name in names]
    lines = [
        "#separator \\x09",
        "\t".join(["#fields", *names]),
        "\t".join(["#types", *(kinds.get(each, "string") for each in known)]),
    ]
    lines += ["\t".join("-" if flow[name] is None else str(flow[name]) for name in names) for flow in flows[:9]]
    content = ("\n".join(lines) + "\n#close\t2026-01-01\n").encode()
    (tmp_path / "flows.log.gz").write_bytes(gzip.compress(content))
    given = [{name: cell for name, cell in flow.items() if cell is not None} for flow in flows[:9]]
    wanted = detector.predict(detector.read(lines_of(given)))
    assert len(wanted) == 9
    assert detector.predict(detector.read(str(tmp_path / "flows.log.gz"))) == wanted
    assert [each for batch in detector.follow(io.BytesIO(content)) for each in batch] == wanted


def test_texts_of_a_pipe_are_answered_and_a_bad_line_ends_nothing(predictor: Predictor) -> None:
    content = b"caf\xe9\n" + TEXT.encode() + b"\n"
    broken, good = (each for batch in predictor.follow(io.BytesIO(content), limits=Limits(rows=1)) for each in batch)
    assert broken["error"].startswith("not UTF-8 (its byte number 3); convert it")
    assert {**good, "id": "1"} == predictor.predict(TEXT)[0]


def test_a_batch_without_any_column_ends_nothing(predictor: Predictor) -> None:
    content = lines_of([{"id": "a", "transcript": TEXT}, {"id": "b", "text": TEXT}])
    lost, good = (each for batch in predictor.follow(io.BytesIO(content), limits=Limits(rows=1)) for each in batch)
    assert "no column" in lost["error"]
    assert lost["id"] == "a"
    assert {**good, "id": "1"} == predictor.predict(TEXT)[0]


def test_a_session_counts_the_time_since_the_event_of_the_call_before(
    detector: Predictor, flows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector.inputs, "_told_pace", False)
    wanted = detector.predict(flows[:6])
    session = detector.session()
    one_by_one = [answer for flow in flows[:6] for answer in session.predict(flow)]
    values = [[each["size"]["bytes"]["value"] for each in answers] for answers in (wanted, one_by_one)]
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    assert "Predictor.session()" not in caplog.text
    without = [detector.predict(flow)[0]["size"]["bytes"]["value"] for flow in flows[:6]]
    assert without[1:] != pytest.approx(values[0][1:], rel=1e-5)
    assert caplog.text.count("score events that come one by one through Predictor.session()") == 1


def test_a_session_says_each_warning_once(
    detector: Predictor, flows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    session = detector.session()
    for flow in flows[:3]:
        session.predict({key: value for key, value in flow.items() if key != "bytes_out"})
    assert caplog.text.count("no event has 'bytes_out'") == 1


def test_columns_that_are_kept_stand_in_every_answer(
    predictor: Predictor, detector: Predictor, flows: list[dict[str, Any]]
) -> None:
    rows = [{**flows[0], "uid": "u1", "host": {"name": "web"}}, {**flows[1], "uid": 7}]
    found = detector.session(keep=["uid", "host.name"]).predict([*rows, "{"])
    assert [(each["uid"], each["host.name"]) for each in found] == [("u1", "web"), (7, None), (None, None)]
    assert "uid" not in detector.predict(rows)[0]
    [answer] = predictor.session(keep=["caller"]).predict([{"text": TEXT, "caller": 3}])
    assert answer["caller"] == 3
    [answer] = predictor.session(keep=["caller"]).predict([{"text": TEXT, "caller": float("nan")}])
    assert answer["caller"] is None
    for name in ("find", "truncated"):
        with pytest.raises(ConfigError, match=f"keep: an answer has a '{name}' of its own"):
            detector.session(keep=[name])
