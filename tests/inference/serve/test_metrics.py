"""Figures for Prometheus."""

from __future__ import annotations

from jenga.inference.serve.metrics import Metrics


def figures(metrics: Metrics) -> dict[str, float]:
    lines = metrics.written().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_requests_are_counted_by_code_and_time() -> None:
    metrics = Metrics()
    for code, seconds in ((200, 0.004), (200, 0.3), (429, 0.001)):
        metrics.begun()
        metrics.ended("/predict", code, seconds)
    metrics.begun()
    found = figures(metrics)
    assert found['jenga_requests_total{code="200",path="/predict"}'] == 2
    assert found['jenga_requests_total{code="429",path="/predict"}'] == 1
    assert found['jenga_request_seconds_bucket{le="0.005",path="/predict"}'] == 2
    assert found['jenga_request_seconds_count{path="/predict"}'] == 3
    assert found["jenga_requests_under_way"] == 1


def test_batches_are_counted_by_model_and_servers_apart() -> None:
    metrics = Metrics()
    model = metrics.of_model("calls")
    model.waiting(7)
    model.batch(64, 2000, 0.05)
    model.dropped(3)
    model.generated(12)
    found = figures(metrics)
    assert found['jenga_queue_rows{model="calls"}'] == 7
    assert found['jenga_batch_rows_bucket{le="64.0",model="calls"}'] == 1
    assert found['jenga_batch_tokens_sum{model="calls"}'] == 2000
    assert found['jenga_batch_seconds_count{model="calls"}'] == 1
    assert found['jenga_dropped_rows_total{model="calls"}'] == 3
    assert found['jenga_generated_tokens_total{model="calls"}'] == 12
    assert 'jenga_queue_rows{model="calls"}' not in figures(Metrics())
