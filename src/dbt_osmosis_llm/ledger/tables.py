"""The ledger's tables; `migrations` creates and changes them, and a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

runs = Table(
    "llm_runs",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("started_at", BigInteger, nullable=False, index=True),
    Column("ended_at", BigInteger),
    Column("outcome", String(32)),
    Column("command", Text, nullable=False),
    Column("selection", Text, nullable=False),
    Column("project", Text),
    Column("git_commit", String(64)),
    Column("versions", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("settings", Text, nullable=False),
)

calls = Table(
    "llm_calls",
    metadata,
    Column("call_id", String(32), primary_key=True),
    Column("run_id", String(32), nullable=False, index=True),
    Column("parent_call_id", String(32), index=True),
    Column("started_at", BigInteger, nullable=False, index=True),
    Column("custom_id", Text, nullable=False, index=True),
    Column("part", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("model", Text, nullable=False),
    Column("answered_by", Text),
    Column("key", String(80), nullable=False),
    Column("request", Text, nullable=False),
    Column("response", Text),
    Column("error_class", String(64)),
    Column("error", Text),
    Column("attempts", Integer, nullable=False),
    # 53 bits hold a float of Python's; without, some databases keep half of them.
    Column("latency_ms", Float(53), nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("cache_write_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("cost_usd", Float(53)),
    Column("finish_reason", String(32)),
    Column("request_id", Text),
    Column("row_hash", String(80), nullable=False),
    Index("ix_llm_calls_answer", "key", "status", "started_at"),
)

hits = Table(
    "llm_hits",
    metadata,
    Column("hit_id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(32), nullable=False, index=True),
    Column("call_id", String(32), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("custom_id", Text, nullable=False),
    Column("part", Text, nullable=False),
)

texts = Table(
    "llm_texts",
    metadata,
    Column("text_id", Integer, primary_key=True, autoincrement=True),
    Column("call_id", String(32), nullable=False, index=True),
    Column("node_id", Text, nullable=False, index=True),
    Column("column", Text, nullable=False),
    Column("text", Text, nullable=False),
)

claims = Table(
    "llm_claims",
    metadata,
    Column("key", String(80), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("host", Text, nullable=False),
    Column("process", Integer, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
"""Questions that a process is asking at this moment, so that another one waits for the answer."""
