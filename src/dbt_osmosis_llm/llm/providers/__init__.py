"""Providers: a row of data each, and one module per wire format."""
