import pytest

from jenga.samples.names import ENTITY_TYPES, Dice, case_number, compose


@pytest.mark.parametrize("language", ["en", "sw"])
@pytest.mark.parametrize("entity_type", ENTITY_TYPES)
def test_each_entity_type_has_many_names(entity_type: str, language: str) -> None:
    dice = Dice("names")
    names = {compose(dice, entity_type, language) for _ in range(500)}
    assert len(names) > 100
    assert all(name == name.strip() and name.isascii() for name in names)


def test_unknown_entity_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown 'MONEY'; known: PERSON, LOCATION"):
        compose(Dice("names"), "MONEY", "en")


def test_case_numbers_have_four_digits() -> None:
    assert len(case_number(Dice("case")).split("-")[1]) == 4


def test_dice_are_fair_and_seeded() -> None:
    rolls = [Dice("a").number(1, 7), Dice("a").number(1, 7)]
    assert rolls[0] == rolls[1]
    dice = Dice("b")
    assert {dice.number(1, 7) for _ in range(200)} == {1, 2, 3, 4, 5, 6}
