"""``python -m dbt_osmosis_llm``: the same command line where ``.pth`` files are not read."""

from dbt_osmosis.cli import main as host

from dbt_osmosis_llm import _autoload, cli


def main() -> None:
    """Run dbt-osmosis's command line with this plugin's options."""
    if not _autoload.is_off():
        cli.extend(host)
    host.cli(prog_name="dbt-osmosis")


if __name__ == "__main__":
    main()
