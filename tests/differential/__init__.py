"""Generated dbt projects, documented by the installed command and judged by their own oracle.

The generator knows of each column what it is made of; nothing here asks the package for lineage.
"""
