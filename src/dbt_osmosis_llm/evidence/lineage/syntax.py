"""Questions to single nodes of sqlglot's tree, answered without a name or a table being known.

What differs between the supported versions of sqlglot stands here, but for one thing: annotations
say `exp.Expr`, the base class of sqlglot 30, which is `exp.Expression` before. Nothing may evaluate
them.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlglot import exp
from sqlglot.dialects.dialect import NormalizationStrategy

from dbt_osmosis_llm.evidence.names import folded, word_set

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlglot.dialects.dialect import Dialect


_DATE_PARTS = word_set(
    "year quarter month week day hour minute second millisecond microsecond nanosecond"
    " dayofweek dayofyear isoweek isoyear epoch yy yyyy qq mm ww wk dd hh mi ss ms dow doy"
)
_AGGREGATE_NAMES = word_set(
    "any_value approx_distinct arbitrary argmax argmin avg_if bitand_agg bitmap_union bitor_agg"
    " bitxor_agg bool_and bool_or bool_xor checksum collect_list collect_set count_min_sketch"
    " countif entropy every favg fsum geometric_mean group_concat hash_agg hll"
    " histogram histogram_exact histogram_numeric hll_accumulate hll_combine kahan_sum kurtosis"
    " kurtosis_pop listagg logical_and logical_or mad map_union map_union_sum max_by median min_by"
    " minhash minhash_combine mode multimap_agg percentile percentile_approx product quantile"
    " quantile_cont quantile_disc regr_count reservoir_quantile skewness some st_collect st_extent"
    " st_extent3d st_polygonize st_union_agg stats_mode sumif sumkahan try_avg try_sum uniq"
    " wm_concat"
)
_AGGREGATES_OF_ONE = word_set("st_makeline st_union")
"""Aggregates with one argument; with two they join two values of one row."""
_SKETCHES = re.compile(r"(hll_count|kll_quantiles)\.(init|merge)\w*\Z")
"""BigQuery's; what only reads one sketch (`hll_count.extract`) is no aggregate."""
_VOLATILE_NAMES = word_set(
    "clock_timestamp gen_random_bytes gen_random_uuid generate_ulid generate_uuid generateserialid"
    " generatesnowflakeid generateulid generateuuidv4 generateuuidv7 input_file_name"
    " monotonically_increasing_id newid newsequentialid nextval normal rand rand32 rand64"
    " randcanonical randconstant random random_normal random_uuid randnormal randstr randuniform"
    " rownumberinallblocks rownumberinblock seq1 seq2 seq4 seq8 spark_partition_id sys_guid"
    " uniform uuid uuid_generate_v1 uuid_generate_v4 uuid_short uuid_string uuidv4 uuidv7 zipf"
)

FROM = "from_" if "from_" in exp.Select.arg_types else "from"
QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)
SERIES: tuple[type[exp.Expr], ...] = tuple(
    getattr(exp, name)
    for name in (
        "ExplodingGenerateSeries",
        "GenerateSeries",
        "GenerateDateArray",
        "GenerateTimestampArray",
        "Generator",
    )
    if hasattr(exp, name)
)
"""Functions that make rows of their own."""
_ROW_MAKING: tuple[type[exp.Expr], ...] = (exp.UDTF, exp.Explode, exp.Inline, *SERIES)
_ROW_MAKERS = re.compile(
    r"(unnest|arrayjoin|flatten|explode\w*|posexplode\w*|inline_outer|stack|jsonb?_(array_elements|"
    r"each|object_keys|path_query)\w*|json_tuple|regexp_(matches|split_to_table)|string_to_table|"
    r"generate_subscripts)\Z"
)
"""Functions that make rows of their own in a SELECT list, by the names of those unknown here."""
_VOLATILE: tuple[type[exp.Expr], ...] = (exp.NextValueFor, exp.Rand, exp.Randn, exp.Uuid)


class NameCase(Enum):
    """What a dialect makes of the case of a table's name."""

    LOWER = "lower"
    UPPER = "upper"
    INSENSITIVE = "insensitive"
    SENSITIVE = "sensitive"

    @classmethod
    def of(cls, dialect: Dialect) -> NameCase:
        """Return that of a dialect of sqlglot."""
        strategy = dialect.normalization_strategy
        if strategy is NormalizationStrategy.LOWERCASE:
            return cls.LOWER
        if strategy is NormalizationStrategy.UPPERCASE:
            return cls.UPPER
        return cls.SENSITIVE if type(dialect).__name__ == "ClickHouse" else cls.INSENSITIVE

    def folded(self, identifier: exp.Expr) -> str:
        """Return what is the same for all spellings of one name."""
        name = str(identifier.name)
        is_exact = identifier.args.get("quoted") and self is not NameCase.INSENSITIVE
        if is_exact or self is NameCase.SENSITIVE:
            return name
        return name.upper() if self is NameCase.UPPER else name.lower()


def argument(node: exp.Expr, name: str) -> Any:
    """An argument by name, in the spelling (`from` or `from_`) of any supported sqlglot."""
    return node.args.get(name + "_") or node.args.get(name)


def keyword(node: exp.Expr, name: str) -> str:
    """An argument that is a word of SQL, in lower case."""
    return str(node.args.get(name) or "").lower()


def core_of(expression: exp.Expr) -> exp.Expr:
    """The expression without its alias and outer parentheses."""
    while isinstance(expression, (exp.Alias, exp.Paren)):
        expression = expression.this
    return expression


def conjuncts(condition: exp.Expr) -> list[exp.Expr]:
    """The conditions of a chain of ANDs, in order."""
    conditions, stack = [], [condition]
    while stack:
        inner = core_of(stack.pop())
        if isinstance(inner, exp.And):
            stack += [inner.expression, inner.this]
        else:
            conditions.append(inner)
    return conditions


def columns_of_alias(node: exp.Expr) -> list[exp.Expr]:
    """The column list of `as t(a, b)`, empty where there is none."""
    alias = node.args.get("alias")
    return (alias.args.get("columns") if alias else None) or []


def names_of(nodes: Iterable[exp.Expr] | None) -> list[str]:
    """The names of identifiers, columns and the like."""
    return [str(node.name) for node in nodes or ()]


def _function_name(function: exp.Func) -> str:
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    return str(name).lower()


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a node itself makes one value of many rows."""
    if isinstance(node, exp.AggFunc):
        return True
    if isinstance(node, exp.Window):
        return str(node.args.get("over")).upper() == "KEEP"
    if not isinstance(node, exp.Anonymous):
        return False
    name = _function_name(node)
    if isinstance(node.parent, exp.Dot) and node.parent.expression is node:
        return bool(_SKETCHES.match(f"{node.parent.this.name}.{name}".lower()))
    if name == "some" and isinstance(node.parent, exp.Binary):
        return node.parent.expression is not node  # x = some(array)
    if name in _AGGREGATES_OF_ONE:
        return len(node.expressions) == 1
    return name.endswith("agg") or name.startswith("approx_") or name in _AGGREGATE_NAMES


def is_volatile(node: exp.Expr) -> bool:
    """Whether a node itself gives another value each time, so that it is no constant."""
    return isinstance(node, (*_VOLATILE, *SERIES)) or (
        isinstance(node, exp.Func) and _function_name(node) in _VOLATILE_NAMES
    )


def makes_rows(node: exp.Expr) -> bool:
    """Whether a node itself may make several rows of one where it stands in a SELECT list."""
    if isinstance(node, exp.Anonymous):
        return bool(_ROW_MAKERS.match(_function_name(node)))
    return isinstance(node, _ROW_MAKING)


def is_date_part(column: exp.Column) -> bool:
    """Whether a column node is really the unit in date_part(month, x), say."""
    if column.name.lower() not in _DATE_PARTS or len(column.parts) > 1:
        return False
    function = column.parent
    if not isinstance(function, exp.Func) or isinstance(function, (exp.AggFunc, exp.Binary)):
        return False
    arguments = list(function.iter_expressions())
    units = [node.name.lower() for node in arguments if isinstance(node, exp.Var)]
    elsewhere = any(unit in _DATE_PARTS for unit in units)
    if len(arguments) == 1 or elsewhere or any(node.is_string for node in arguments):
        return False
    name = _function_name(function)
    return any(word in name for word in ("date", "time", "trunc", "last_day", "extract"))


def star_of(projection: exp.Expr) -> exp.Expr | None:
    """The star of a projection that gives many columns, else None."""
    if isinstance(projection, (exp.Star, exp.Columns)):
        return projection
    if isinstance(projection, (exp.Column, exp.Like, exp.ILike)):
        return projection.this if isinstance(projection.this, exp.Star) else None
    if isinstance(projection, exp.Dot) and isinstance(projection.expression, exp.Star):
        return projection.expression
    return None


def is_parenthesised_join(node: exp.Expr) -> bool:
    """Whether (node) only groups sources, whose names stay visible outside."""
    while isinstance(node, exp.Subquery) and not node.args.get("alias"):
        if node.args.get("joins"):
            return True
        node = node.this
    return isinstance(node, (exp.Subquery, exp.Table))


def position_of(node: exp.Expr) -> int:
    """Where a node starts in the SQL: sqlglot sorts some functions' arguments anew."""
    identifier = node.find(exp.Identifier)
    return int(identifier.meta.get("start", 0)) if identifier is not None else 0


def inline_named_windows(query: exp.Select) -> None:
    """Rewrites `over w` into what the WINDOW clause says of `w`."""
    named = {folded(str(window.this.name)): window for window in query.args.get("windows") or ()}
    if not named:
        return
    for window in query.find_all(exp.Window):
        seen: set[str] = set()
        while (alias := window.args.get("alias")) is not None:
            key = folded(str(alias.name))
            definition = named.get(key)
            if definition is None or key in seen:
                break
            seen.add(key)
            for part in ("partition_by", "order", "spec"):
                value = definition.args.get(part)
                if value and not window.args.get(part):
                    is_list = isinstance(value, list)
                    window.set(part, [node.copy() for node in value] if is_list else value.copy())
            inherited = definition.args.get("alias")
            window.set("alias", inherited.copy() if inherited is not None else None)
