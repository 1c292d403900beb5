"""Cooldowns: what is let through, what is counted, and what is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jenga.policy.memory import Memory


def test_an_event_at_the_very_end_of_the_cooldown_begins_anew_and_one_before_does_not() -> None:
    memory = Memory(10)
    assert memory.passes("a", 100.0, 60.0) == 0
    assert memory.passes("a", 159.999, 60.0) is None
    assert memory.passes("a", 160.0, 60.0) == 1


def test_a_suppressed_event_does_not_lengthen_the_cooldown() -> None:
    memory = Memory(10)
    assert [memory.passes("a", at, 60.0) for at in (0.0, 50.0, 60.0, 110.0, 120.0)] == [0, None, 1, None, 1]


def test_events_out_of_order_are_suppressed_near_the_alert_and_begin_anew_far_before_it() -> None:
    memory = Memory(10)
    assert memory.passes("a", 1000.0, 60.0) == 0
    assert memory.passes("a", 941.0, 60.0) is None
    assert memory.passes("a", 940.0, 60.0) == 1


def test_a_time_far_ahead_hides_no_later_event() -> None:
    memory = Memory(10)
    memory.passes("a", 4e9, 60.0)
    assert memory.passes("a", 1000.0, 60.0) == 0
    assert memory.passes("a", 1001.0, 60.0) is None


def test_no_cooldown_lets_everything_through() -> None:
    memory = Memory(10)
    assert [memory.passes("a", 5.0, 0.0) for _ in range(3)] == [0, 0, 0]


def test_keys_do_not_share_their_cooldowns() -> None:
    memory = Memory(10)
    assert (memory.passes("a", 0.0, 60.0), memory.passes("b", 1.0, 60.0)) == (0, 0)


def test_the_one_unseen_for_longest_is_forgotten_first_and_told_with_what_it_kept_back() -> None:
    memory = Memory(2)
    for key in ("a", "b", "b", "a"):
        memory.passes(key, 0.0, 60.0)
    memory.passes("c", 0.0, 60.0)  # b was seen before a
    assert len(memory) == 2
    assert memory.told() == (1, 1)
    assert memory.told() == (0, 0)
    assert memory.passes("a", 1.0, 60.0) is None


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.floats(0, 500)), max_size=40), st.integers(1, 5))
def test_what_is_kept_goes_on_as_if_it_had_never_been_put_away(events: list[tuple[str, float]], most: int) -> None:
    whole, first, second = Memory(most), Memory(most), Memory(most)
    half = len(events) // 2
    wanted = [whole.passes(key, at, 60.0) for key, at in events]
    found = [first.passes(key, at, 60.0) for key, at in events[:half]]
    second.restore(first.entries())
    found += [second.passes(key, at, 60.0) for key, at in events[half:]]
    assert found == wanted
    assert second.entries() == whole.entries()
