from __future__ import annotations

import pytest

from dbt_osmosis_llm.evidence.cutting import cut, fit, fit_sql, one_line


@pytest.mark.parametrize(
    ("text", "cut_text", "fitted"),
    [
        ("", "", ""),
        ("exactly 10", "exactly 10", "exactly 10"),
        ("one more 11", "one more 1 …", "one more …"),
        ("two words more", "two words  …", "two word …"),
    ],
)
def test_a_mark_stands_beside_the_limit_or_within_it(text: str, cut_text: str, fitted: str) -> None:
    assert cut(text, 10) == cut_text
    assert fit(text, 10) == fitted
    assert len(fitted) <= 10


def test_the_mark_can_be_another_one() -> None:
    assert fit("one more 11", 10, " ...") == "one mo ..."


def test_one_line_has_no_other_blanks_and_is_cut_after_that() -> None:
    assert one_line(" a\n\n  b\tc ", 5) == "a b c"
    assert one_line("a\n\nb\n\nc d", 5) == "a b c …"


def test_sql_is_cut_before_a_string_that_would_not_be_whole() -> None:
    sql = "name = 'joe' or mail = 'joe@shop.example' or x"
    assert fit_sql(sql, 38, " ...") == "name = 'joe' or mail = ..."
    assert fit_sql(sql, len(sql), " ...") == sql
    assert fit_sql("a = 'b' and cccccccccccc", 20, " ...") == "a = 'b' and cccc ..."
