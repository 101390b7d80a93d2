"""The predicate of a cleanup: what is taken, how it is written for an engine, and what is refused."""

from __future__ import annotations

import pytest

from opsqueue.operations.database.predicate import parse


@pytest.mark.parametrize(
    ("text", "sql", "columns"),
    [
        ("id <= 7", '"id" <= 7', ("id",)),
        ("at < now() - interval '90 days'", "\"at\" < now( ) - interval '90 days'", ("at",)),
        ("at < now() - interval 90 day", '"at" < now( ) - interval 90 day', ("at",)),
        ("at < datetime('now', '-90 days')", "\"at\" < datetime( 'now' , '-90 days' )", ("at",)),
        (
            "A in (1, 'it''s') OR not (b IS NOT NULL)",
            "\"A\" in ( 1 , 'it''s' ) or not ( \"b\" is not null )",
            ("A", "b"),
        ),
        ('"my col" not between -1 and 2.5', '"my col" not between - 1 and 2.5', ("my col",)),
        ("`or` like 'x%' and lower(name) <> ''", "\"or\" like 'x%' and lower( \"name\" ) <> ''", ("or", "name")),
        ("cast(at as date) = current_date", '"at" = current_date', ("at",)),
        ("a = '( ; drop -- '".replace("--", ""), "\"a\" = '( ; drop  '", ("a",)),
    ],
)
def test_one_expression_is_taken(text, sql, columns):
    found = parse(text)
    assert found.sql('"') == sql.replace('"at" = current_date', 'cast( "at" as date ) = current_date')
    assert found.columns == columns


def test_a_name_is_quoted_as_a_name_for_each_engine():
    found = parse('"a""; drop table t" = 1')
    assert found.sql('"') == '"a""; drop table t" = 1'
    assert found.sql("`") == '`a"; drop table t` = 1'


@pytest.mark.parametrize(
    "text",
    [
        "", "1 = 1", "true", "id = 1; drop table t", "id = 1 -- x", "id = 1 /* x", "id = /*! 1 */ 1", "id = 1 # x",
        "id in (select 1)", "exists (select 1)", "id = (select 1)", "id = 1 union select 1", "case when id then 1 end",
        "id = pg_sleep(1)", "id = load_file('x')", "id = 'a' 'b'", "id = e'x'", "id = 'a\\'", "id = $$x$$", "id = $1",
        "id = :x", "id::int = 1", "id = @x", "id = ?", "id || 'x' = 'y'", "(id = 1", "id = 1)", "id not 1", "id in ()",
        "id = 1 = ", "id returning 1", "id = 1 limit 1", "id = 1 order by id", "a.id = 1", "id = 0x41", "id = 'x",
        "cast(id as regclass) = 1", "id = 1\x00", "\u0131d = 1", "id like 'x' escape '!'", "(" * 40 + "id" + ")" * 40,
        "interval 5 parsec < id", "id ~ '(a+)+'", "note = 'opsqueue_size'", "opsqueue_size = 1",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)
