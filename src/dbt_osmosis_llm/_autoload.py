"""Extends dbt-osmosis's command line the moment it is imported.

dbt-osmosis 1.5 has no hook for commands, so ``dbt_osmosis_llm.pth`` imports this module at
interpreter start and a finder waits for ``dbt_osmosis.cli.main`` alone. Every interpreter of the
environment pays for this file: it imports nothing beyond what Python has already loaded
(``importlib.abc`` and ``importlib.util`` cost 70 ms) and must never raise.
"""

import os
import sys

_HOST_MODULE = "dbt_osmosis.cli.main"
_OFF = {"off", "0", "false", "no"}


def is_off() -> bool:
    """Tell whether ``DBT_OSMOSIS_LLM`` switches the plugin off."""
    return os.environ.get("DBT_OSMOSIS_LLM", "").strip().lower() in _OFF


class _ExtendingLoader:
    """The host module's own loader, followed by our extension."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        """Leave the creation of the module to the host's loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module):
        """Run the host module, then extend it; our failure never becomes the host's."""
        self._loader.exec_module(module)
        module.__spec__.loader = module.__loader__ = self._loader
        try:
            from dbt_osmosis_llm import cli

            cli.extend(module)
        except Exception as error:  # noqa: BLE001  # the host must start whatever happens here
            print(  # noqa: T201
                f"dbt-osmosis-llm could not extend dbt-osmosis ({type(error).__name__}: {error}); "
                "dbt-osmosis runs without it.",
                file=sys.stderr,
            )


class _HostFinder:
    """A meta path finder for one module: ``dbt_osmosis.cli.main``."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        """Return the host's own spec with a loader that extends it, else None."""
        if name != _HOST_MODULE:
            return None
        # First: the loop below would call this method again.
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not cls]
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _ExtendingLoader(spec.loader)
                return spec
        return None


def install() -> None:
    """Put the finder first on ``sys.meta_path``, once, unless the plugin is switched off."""
    if not is_off() and _HOST_MODULE not in sys.modules and _HostFinder not in sys.meta_path:
        sys.meta_path.insert(0, _HostFinder)


install()
