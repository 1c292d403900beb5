import pytest

from jenga.tables import is_numeric


@pytest.mark.parametrize(
    ("column", "numeric"),
    [
        (["1", "-2.5", "1,234"], True), (["-", "3"], True), (["-", "-"], False), ([], False), (["3", "x"], False),
        (["3", ""], False), (["1.2.3"], False), (["50%"], False),
    ],
)  # fmt: skip
def test_a_column_of_numbers_is_known_by_those_of_its_cells_that_have_a_value(column: list[str], numeric: bool) -> None:
    assert is_numeric(column) is numeric
