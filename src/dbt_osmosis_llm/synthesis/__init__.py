"""Decides what to ask, asks it, and turns answers into texts."""
