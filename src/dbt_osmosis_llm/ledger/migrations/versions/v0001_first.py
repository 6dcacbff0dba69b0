"""Create the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "llm_runs",
        sa.Column("run_id", sa.String(32), primary_key=True),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("outcome", sa.String(32)),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("selection", sa.Text, nullable=False),
        sa.Column("project", sa.Text),
        sa.Column("git_commit", sa.String(64)),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
    )
    op.create_table(
        "llm_calls",
        sa.Column("call_id", sa.String(32), primary_key=True),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("parent_call_id", sa.String(32)),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("custom_id", sa.Text, nullable=False),
        sa.Column("part", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("answered_by", sa.Text),
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("response", sa.Text),
        sa.Column("error_class", sa.String(64)),
        sa.Column("error", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("latency_ms", sa.Float(53), nullable=False),
        sa.Column("input_tokens", sa.Integer, nullable=False),
        sa.Column("cached_tokens", sa.Integer, nullable=False),
        sa.Column("cache_write_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.Column("reasoning_tokens", sa.Integer, nullable=False),
        sa.Column("cost_usd", sa.Float(53)),
        sa.Column("finish_reason", sa.String(32)),
        sa.Column("request_id", sa.Text),
        sa.Column("row_hash", sa.String(80), nullable=False),
    )
    op.create_table(
        "llm_hits",
        sa.Column("hit_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("call_id", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("custom_id", sa.Text, nullable=False),
        sa.Column("part", sa.Text, nullable=False),
    )
    op.create_table(
        "llm_texts",
        sa.Column("text_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("call_id", sa.String(32), nullable=False),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("column", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "llm_claims",
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("process", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    # Named as SQLAlchemy names those of `index=True`, for the comparison with `tables`.
    indexes = {
        "llm_runs": ["started_at"],
        "llm_calls": ["run_id", "parent_call_id", "started_at", "custom_id"],
        "llm_hits": ["run_id", "call_id"],
        "llm_texts": ["call_id", "node_id"],
    }
    for table, columns in indexes.items():
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])
    op.create_index("ix_llm_calls_answer", "llm_calls", ["key", "status", "started_at"])
