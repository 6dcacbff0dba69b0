"""``python -m dbt_osmosis_llm``: the same command line where ``.pth`` files are not read."""

from dbt_osmosis_llm import _autoload, cli
from dbt_osmosis_llm.host import compat


def main() -> None:
    """Run dbt-osmosis's command line with this plugin's options."""
    host = compat.main_module()
    if not _autoload.is_off():
        cli.extend(host)
    host.cli(prog_name="dbt-osmosis")


if __name__ == "__main__":
    main()
