import json
from collections.abc import Callable
from typing import Any

from jenga.refinery.estimator import SecurityRefinery
from jenga.refinery.look import describe


def test_fields_are_described_by_what_training_rows_held(
    make_events: Callable[..., Any], event_schema: dict[str, Any]
) -> None:
    refinery = SecurityRefinery(schema=event_schema).fit(make_events(200))
    found = {each.field: each for each in describe(refinery)}
    assert list(found) == [field["path"] for field in event_schema["fields"]]
    assert sum(each.columns for each in found.values()) == refinery.n_features_out_
    assert found["bytes"].missing_rate == 0.1
    assert found["bytes"].states["absent"] == 20
    assert found["bytes"].quantiles["0"] <= found["bytes"].quantiles["0.5"] <= found["bytes"].quantiles["1"]
    assert found["proto"].n_values == found["proto"].known == 3
    assert next(iter(found["proto"].most_frequent)) in ("udp", "tcp", "é")
    assert found["ts"].words == "seconds between rows: 3.25 .. 3.25 .. 3.25"
    assert found["query"].words.startswith("bytes: 17")
    assert (found["rcode"].words, found["rcode"].n_values) == ("", None)
    assert json.dumps([each.to_dict() for each in found.values()])
