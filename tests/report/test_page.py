from jenga.report.page import node, table, written


def test_texts_are_never_markup() -> None:
    page = written("<b>title</b>", [node("p", "</p><script>alert(1)</script>"), table([["<i>"], ["</td>"]])])
    assert page.startswith("<!DOCTYPE html>\n<html")
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;i&gt;" in page


def test_columns_of_numbers_stand_on_the_right() -> None:
    (header, row) = table([["name", "count"], ["7 of 9", "1,200.5"]]).iter("tr")
    assert [cell.get("class") for cell in (*header, *row)] == [None, "number", None, "number"]
