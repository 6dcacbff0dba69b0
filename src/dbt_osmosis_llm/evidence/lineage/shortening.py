"""Leaves out rows of literals that say nothing more, before they are parsed.

A model may be a list of ten thousand rows. What its columns are the first ones tell; each further
one costs a millisecond.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import TokenType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlglot import Token

_MANY_TOKENS = 5_000
_KEPT_ROWS = 200
"""Of one list."""

_IN_ROWS = frozenset(
    (
        TokenType.COMMA,
        TokenType.DASH,
        TokenType.FALSE,
        TokenType.NULL,
        TokenType.NUMBER,
        TokenType.STRING,
        TokenType.TRUE,
    )
)
_BEGIN_LISTS = frozenset((TokenType.FROM, TokenType.VALUES, TokenType.WITH))
_END_VALUES = frozenset((TokenType.ALIAS, TokenType.IN, TokenType.SELECT, TokenType.WHERE))
# Without these a SELECT reads no table, and is no more than a row. Some end the whole union.
_NOT_IN_BRANCHES = frozenset(
    (
        TokenType.DOT,
        TokenType.EXCEPT,
        TokenType.FETCH,
        TokenType.FROM,
        TokenType.INTERSECT,
        TokenType.LIMIT,
        TokenType.OFFSET,
        TokenType.ORDER_BY,
        TokenType.SEMICOLON,
        TokenType.WHERE,
        TokenType.WITH,
    )
)


def shortened(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens of a statement, without most of its rows of literals if they are many."""
    if len(tokens) < _MANY_TOKENS:
        return tokens
    kept: list[Token] = []
    in_values, at, rows = False, 0, 0
    while at < len(tokens):
        kind = tokens[at].token_type
        end = at
        if kind is TokenType.COMMA and in_values:
            end = _row_end(tokens, at)
        elif kind is TokenType.UNION:
            end = _branch_end(tokens, at)
        if end == at:
            rows = 0 if kind in _BEGIN_LISTS else rows
            in_values = kind is TokenType.VALUES or (in_values and kind not in _END_VALUES)
            kept.append(tokens[at])
            at += 1
            continue
        rows += 1
        if rows <= _KEPT_ROWS:
            kept += tokens[at:end]
        at = end
    return kept


def _row_end(tokens: Sequence[Token], start: int) -> int:
    """Behind `, (1, 'a')` between two more rows, or the start if no such row stands there."""
    is_row = tokens[start - 1].token_type is TokenType.R_PAREN and (
        start + 1 < len(tokens) and tokens[start + 1].token_type is TokenType.L_PAREN
    )
    at = start + 2
    while is_row and at < len(tokens) and tokens[at].token_type in _IN_ROWS:
        at += 1
    is_row = is_row and at < len(tokens) and tokens[at].token_type is TokenType.R_PAREN
    return at + 1 if is_row else start


def _branch_end(tokens: Sequence[Token], start: int) -> int:
    """Behind `union all select 1, 'a'` before another union, or the start if there is none."""
    at = start + 1
    while at < len(tokens) and tokens[at].token_type in (TokenType.ALL, TokenType.DISTINCT):
        at += 1
    if at == len(tokens) or tokens[at].token_type is not TokenType.SELECT:
        return start
    depth = 0
    for end in range(at + 1, len(tokens)):
        kind = tokens[end].token_type
        depth += (kind is TokenType.L_PAREN) - (kind is TokenType.R_PAREN)
        if kind is TokenType.UNION and depth == 0:
            return end
        if depth < 0 or kind is TokenType.SELECT or kind in _NOT_IN_BRANCHES:
            return start
    return start
