"""A SELECT list without the one entry that the parser does not know.

An entry in a syntax of its own should cost its column, and not all columns of the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import Token, TokenType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlglot.errors import ParseError

UNREADABLE = "unreadable_entry"
"""The function that stands for an entry that nobody can read."""

_CLAUSES = frozenset(
    (
        TokenType.FROM,
        TokenType.GROUP_BY,
        TokenType.HAVING,
        TokenType.ON,
        TokenType.ORDER_BY,
        TokenType.QUALIFY,
        TokenType.USING,
        TokenType.WHERE,
        TokenType.WINDOW,
    )
)
_ENDS = _CLAUSES | {
    TokenType.COMMA,
    TokenType.EXCEPT,
    TokenType.INTERSECT,
    TokenType.LIMIT,
    TokenType.SEMICOLON,
    TokenType.UNION,
}
_NAMES = frozenset((TokenType.IDENTIFIER, TokenType.VAR))


def without_entry(tokens: Sequence[Token], error: ParseError) -> list[Token] | None:
    """The tokens with another entry for the one in which an error is; None if it is in none."""
    where = [(found.get("line"), found.get("col")) for found in error.errors[:1]]
    places = (at for at, token in enumerate(tokens) if (token.line, token.col) in where)
    start = _start_of_entry(tokens, next(places, 0))
    if start is None:
        return None
    end = _end_of_entry(tokens, start)
    entry = tokens[start:end]
    if not entry or entry[0].text == UNREADABLE or _is_more_than_a_column(entry):
        return None
    call = [Token.var(UNREADABLE), Token(TokenType.L_PAREN, "("), Token(TokenType.R_PAREN, ")")]
    return [*tokens[:start], *call, *_alias_of(entry), *tokens[end:]]


def _start_of_entry(tokens: Sequence[Token], error: int) -> int | None:
    """Where the entry of the innermost SELECT list around a token begins."""
    depth, start, elsewhere = 0, None, False
    for at in range(error - 1, -1, -1):
        kind = tokens[at].token_type
        if kind is TokenType.R_PAREN:
            depth += 1
        elif kind is TokenType.L_PAREN and depth:
            depth -= 1
        elif kind is TokenType.L_PAREN:  # what was seen so far is inside parentheses
            start, elsewhere = None, False
        elif depth:
            continue
        elif kind is TokenType.SELECT:
            return None if elsewhere else (start or at + 1)
        elif kind is TokenType.COMMA:
            start = start or at + 1
        elsewhere = elsewhere or (not depth and kind in _CLAUSES)
    return None


def _end_of_entry(tokens: Sequence[Token], start: int) -> int:
    depth = 0
    for at in range(start, len(tokens)):
        kind = tokens[at].token_type
        if not depth and (kind in _ENDS or kind is TokenType.R_PAREN):
            return at
        depth += (kind is TokenType.L_PAREN) - (kind is TokenType.R_PAREN)
    return len(tokens)


def _is_more_than_a_column(entry: Sequence[Token]) -> bool:
    """Whether it is a star, or says something of the rows as well, as DISTINCT and TOP do."""
    before = [None, *(token.token_type for token in entry)]
    stars = (at for at, token in enumerate(entry) if token.token_type is TokenType.STAR)
    return entry[0].token_type in (TokenType.ALL, TokenType.DISTINCT, TokenType.TOP) or any(
        before[at] in (None, TokenType.DOT) for at in stars
    )


def _alias_of(entry: Sequence[Token]) -> Sequence[Token]:
    if len(entry) > 2 and entry[-2].token_type is TokenType.ALIAS:
        return entry[-2:]
    is_alias = len(entry) > 2 and entry[-1].token_type in _NAMES
    return entry[-1:] if is_alias and entry[-2].token_type is TokenType.R_PAREN else ()
