"""Frames by target, as a model in Python."""

from typing import Any


def model(dbt: Any, session: Any) -> Any:
    dbt.config(materialized="table")
    frames = dbt.ref("stg_exposures")
    return frames.aggregate("target_name, count(*) as frames, max(frame_id) as last_frame_id")
