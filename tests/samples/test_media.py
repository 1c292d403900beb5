"""Generated sound and pictures: the same each time, and what their labels say."""

from __future__ import annotations

from collections import Counter

import numpy as np

from jenga.samples.media import (
    COLOURS,
    EVENTS,
    LETTERS,
    PITCHES,
    RATE,
    SHAPES,
    SOUNDS,
    generate_scenes,
    generate_shapes,
    generate_spelt,
    generate_tones,
)


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    for generate, column in (
        (generate_tones, "id"), (generate_shapes, "image"), (generate_spelt, "text"), (generate_scenes, "events")
    ):  # fmt: skip
        first, second, other = (list(generate(5, seed=seed)) for seed in (1, 1, 2))
        assert repr(first) == repr(second)
        assert column in first[0]
        assert repr(first) != repr(other)


def test_every_label_is_drawn_about_alike() -> None:
    tones, shapes = list(generate_tones()), list(generate_shapes())
    for rows, column, labels in (
        (tones, "pitch", PITCHES), (tones, "sound", SOUNDS), (shapes, "shape", SHAPES), (shapes, "colour", COLOURS)
    ):  # fmt: skip
        counts = Counter(row[column] for row in rows)
        assert set(counts) == set(labels)
        assert min(counts.values()) > len(rows) / 5


def test_a_pitch_is_that_of_its_label() -> None:
    for row in generate_tones(60):
        heard = row["audio"]["array"]
        loudest = np.abs(np.fft.rfft(heard)).argmax() * RATE / len(heard)
        nearest = min(PITCHES, key=lambda name: abs(np.log(PITCHES[name] / loudest)))
        assert nearest == row["pitch"]


def test_a_colour_is_that_of_its_label() -> None:
    for row in generate_shapes(60):
        image = row["image"].astype(float)
        # What is no grey is the shape.
        vivid = image.std(axis=2) > 35
        mean = image[vivid].mean(axis=0)
        nearest = min(COLOURS, key=lambda name: float(np.abs(np.array(COLOURS[name]) - mean).sum()))
        assert nearest == row["colour"]


def test_a_letter_is_heard_by_its_pitch() -> None:
    alone = [row for row in generate_spelt(200) if len(row["text"]) == 1]
    assert len(alone) > 5
    for row in alone:
        heard = row["audio"]["array"]
        loudest = np.abs(np.fft.rfft(heard)).argmax() * RATE / len(heard)
        assert min(LETTERS, key=lambda name: abs(np.log(LETTERS[name] / loudest))) == row["text"]


def test_an_event_is_louder_than_what_is_around_it() -> None:
    rows = [row for row in generate_scenes(60) if len(row["events"]) == 1]
    assert {row["events"][0]["label"] for row in rows} == set(EVENTS)
    for row in rows:
        (event,) = row["events"]
        first, last = (round(event[key] * RATE) for key in ("start", "end"))
        heard = row["audio"]["array"]
        outside = np.concatenate([heard[:first], heard[last:]])
        assert heard[first:last].std() > 2 * outside.std()
