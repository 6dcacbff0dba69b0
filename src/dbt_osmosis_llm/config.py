"""Settings: the only reader of environment variables and of ``vars: dbt-osmosis: llm:``.

Each setting is declared once, in ``OPTIONS``; the command line, the environment, the project and
the reference in the docs all come from that table. Precedence: flag, environment, project, default.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

_ENV_PREFIX = "OSMOSIS_LLM_"
PROMPT_ENV_PREFIX = f"{_ENV_PREFIX}PROMPT_"
_FOLDER = ".dbt-osmosis-llm"
"""In the project: what is kept from one run to the next."""

PROMPT_KEYS = (
    "model_system",
    "model_user",
    "table_system",
    "table_user",
    "column_system",
    "column_user",
)


class SettingsError(ValueError):
    """A setting that cannot be used, said in one line with the remedy."""


def did_you_mean(value: str, known: Iterable[str], prefix: str = "") -> str:
    """Return `` Did you mean 'x'?`` for a likely typo, else an empty string.

    Args:
        value: What the user wrote, without the prefix.
        known: What there is, without the prefix.
        prefix: Of all of them, which makes none more like another.
    """
    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(value.lower(), list(by_lower), n=1)
    return f" Did you mean {prefix + by_lower[close[0]]!r}?" if close else ""


def _boolean(text: str) -> bool:
    value = text.strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ValueError("true or false")


def _number(kind: type[int] | type[float], minimum: float, unit: str) -> Callable[[str], Any]:
    wanted = f"a {'whole ' if kind is int else ''}number of {unit}, at least {minimum:g}"

    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(wanted) from None
        if not minimum <= value < float("inf"):
            raise ValueError(wanted)
        return value

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        value = text.strip().lower()
        if value not in choices:
            raise ValueError(" or ".join(choices))
        return value

    return parse


@dataclass(frozen=True)
class Option:
    """One setting and every place where a user can set it."""

    name: str
    """Field of `Settings`."""
    key: str
    """Key under ``vars: dbt-osmosis: llm:``."""
    parse: Callable[[str], Any]
    """Text to value; its ValueError says what is wanted instead."""
    default: Any
    help: str
    flag: str | None = None
    env: str | None = None
    metavar: str | None = None

    @property
    def is_switch(self) -> bool:
        """Tell whether the flag takes no value."""
        return self.parse is _boolean


OPTIONS: tuple[Option, ...] = (
    Option(
        "prompt_file",
        "prompt_file",
        Path,
        None,
        "YAML file with your own prompts, rules, glossary and language.",
        flag="--llm-prompt-file",
        env="OSMOSIS_LLM_PROMPT_FILE",
        metavar="PATH",
    ),
    Option(
        "show_stats",
        "stats",
        _boolean,
        False,
        "Print requests, tokens and cost at the end.",
        flag="--llm-stats",
        env="OSMOSIS_LLM_TRACK_USAGE",
    ),
    Option(
        "plan_only",
        "plan_only",
        _boolean,
        False,
        "Show what would be asked and what it would cost; nothing is asked or written.",
        flag="--llm-dry-run",
    ),
    Option(
        "timeout_s",
        "timeout",
        _number(float, 0.1, "seconds"),
        120.0,
        "Bound on one request, in seconds.",
        flag="--llm-timeout",
        env="OSMOSIS_LLM_TIMEOUT",
        metavar="SECONDS",
    ),
    Option(
        "provider",
        "provider",
        str,
        "openai",
        "Whose model to ask, e.g. openai, ollama, lm-studio, offline.",
        flag="--llm-provider",
        env="LLM_PROVIDER",
        metavar="NAME",
    ),
    Option(
        "model",
        "model",
        str,
        None,
        "Which model to ask; the provider's default or its *_MODEL variable otherwise.",
        flag="--llm-model",
        metavar="NAME",
    ),
    Option(
        "max_retries",
        "max_retries",
        _number(int, 0, "retries"),
        3,
        "How often a request that failed in passing is repeated.",
        env="OSMOSIS_LLM_MAX_RETRIES",
    ),
    Option(
        "retry_delay_s",
        "retry_delay",
        _number(float, 0, "seconds"),
        1.0,
        "Longest wait before the first repetition, in seconds; doubles with each.",
        env="OSMOSIS_LLM_RETRY_DELAY",
    ),
    Option(
        "concurrency",
        "concurrency",
        _number(int, 1, "requests"),
        None,
        "Requests at the same time; 16, 2 for models that run on your machines.",
        flag="--llm-concurrency",
        env="OSMOSIS_LLM_CONCURRENCY",
        metavar="N",
    ),
    Option(
        "requests_per_minute",
        "rate_limit",
        _number(float, 0.1, "requests a minute"),
        None,
        "Requests a minute at most; 60 until the provider says otherwise, none on this machine.",
        flag="--llm-rate-limit",
        env="OSMOSIS_LLM_RATE_LIMIT",
        metavar="N",
    ),
    Option(
        "tokens_per_minute",
        "token_limit",
        _number(float, 100, "tokens a minute"),
        None,
        "Tokens a minute at most, prompts and answers together.",
        flag="--llm-token-limit",
        env="OSMOSIS_LLM_TOKEN_LIMIT",
        metavar="N",
    ),
    Option(
        "max_cost_usd",
        "max_cost",
        _number(float, 0, "US dollars"),
        None,
        "Stop before the request that would make the run cost more, in US dollars.",
        flag="--llm-max-cost",
        env="OSMOSIS_LLM_MAX_COST",
        metavar="USD",
    ),
    Option(
        "temperature",
        "temperature",
        _number(float, 0, "temperature units"),
        None,
        "Sampling temperature; sent only when set, many current models refuse it.",
        env="OSMOSIS_LLM_TEMPERATURE",
    ),
    Option(
        "max_output_tokens",
        "max_output_tokens",
        _number(int, 16, "tokens"),
        None,
        "Bound on one answer, in tokens; grows with the number of columns when not set.",
        env="OSMOSIS_LLM_MAX_OUTPUT_TOKENS",
    ),
    Option(
        "max_sql_chars",
        "max_sql_chars",
        _number(int, 200, "characters"),
        None,
        "Cut a model's SQL in the prompt after so many characters.",
        env="OSMOSIS_LLM_MAX_SQL_CHARS",
    ),
    Option(
        "max_prompt_tokens",
        "max_prompt_tokens",
        _number(int, 1000, "tokens"),
        12_000,
        "About how many tokens a prompt may take; what says least about the columns asked for is "
        "left out of a longer one.",
        env="OSMOSIS_LLM_MAX_PROMPT_TOKENS",
    ),
    Option(
        "context_window",
        "context_window",
        _number(int, 1000, "tokens"),
        None,
        "Prompt and answer together, in tokens; longer requests are split and their SQL is cut. "
        "Known for most hosted models.",
        env="OSMOSIS_LLM_CONTEXT_WINDOW",
    ),
    Option(
        "redact_pii",
        "redact_pii",
        _boolean,
        False,
        "Mask e-mail addresses, phone, card and social security numbers in the SQL that is sent.",
        env="OSMOSIS_LLM_REDACT_PII",
    ),
    Option(
        "sample",
        "sample",
        _boolean,
        False,
        "Send the values of seeds' columns that have at most ten; no rows of data are sent else.",
        flag="--llm-sample",
    ),
    Option(
        "ledger_url",
        "ledger_url",
        str,
        None,
        "Where calls and answers are kept: a file, a database's URL, or `none`; "
        ".dbt-osmosis-llm/ledger.db in the project otherwise.",
        env="OSMOSIS_LLM_LEDGER_URL",
    ),
    Option(
        "ledger_required",
        "ledger_required",
        _boolean,
        False,
        "Stop when the ledger fails, instead of going on without it.",
        env="OSMOSIS_LLM_LEDGER_REQUIRED",
    ),
    Option(
        "no_cache",
        "no_cache",
        _boolean,
        False,
        "Ask again what was answered before; the new answers take the place of the old.",
        flag="--llm-no-cache",
    ),
    Option(
        "strict",
        "strict",
        _boolean,
        False,
        "Ask once more for texts that a check finds fault with, naming the fault.",
        flag="--llm-strict",
    ),
    Option(
        "no_copy",
        "no_copy",
        _boolean,
        False,
        "Ask for columns that are upstream columns unchanged, instead of taking over their texts.",
        flag="--llm-no-copy",
    ),
    Option(
        "refresh",
        "refresh",
        _one_of("stale", "all-generated"),
        None,
        "Write texts of ours again: `stale` those whose SQL, upstream texts, tests or type have "
        "changed, or `all-generated`. What a person wrote or edited stays.",
        flag="--llm-refresh",
        env="OSMOSIS_LLM_REFRESH",
        metavar="WHICH",
    ),
    Option(
        "docs_blocks",
        "docs_blocks",
        _boolean,
        False,
        "Write a generated text that serves three or more columns once, as a docs block.",
        flag="--llm-docs-blocks",
        env="OSMOSIS_LLM_DOCS_BLOCKS",
    ),
    Option(
        "cache_days",
        "cache_days",
        _number(float, 0, "days"),
        None,
        "How old an answer may be to be used again, in days.",
        env="OSMOSIS_LLM_CACHE_DAYS",
    ),
    Option(
        "parquet_dir",
        "parquet_dir",
        str,
        None,
        "Also write each call as it happens to Parquet files in this folder or s3:// URL.",
        env="OSMOSIS_LLM_PARQUET_DIR",
    ),
    Option(
        "parquet_buffer_rows",
        "parquet_buffer_rows",
        _number(int, 1, "rows"),
        100,
        "How many rows one of those Parquet files holds.",
        env="OSMOSIS_LLM_PARQUET_BUFFER_ROWS",
    ),
    Option(
        "s3_on_failure",
        "s3_on_failure",
        _one_of("error", "continue"),
        "continue",
        "What to do when those Parquet files cannot be written: `error` ends the run.",
        env="OSMOSIS_LLM_S3_ON_FAILURE",
    ),
)


@dataclass(frozen=True)
class Settings:
    """What the user wants of a run, from all places, checked."""

    prompt_file: Path | None = None
    show_stats: bool = False
    plan_only: bool = False
    timeout_s: float = 120.0
    provider: str = "openai"
    model: str | None = None
    """As the command line says."""
    project_model: str | None = None
    """As the project says for its provider; the provider's variable comes before it."""
    max_retries: int = 3
    retry_delay_s: float = 1.0
    concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost_usd: float | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    max_sql_chars: int | None = None
    max_prompt_tokens: int = 12_000
    context_window: int | None = None
    redact_pii: bool = False
    sample: bool = False
    ledger_url: str | None = None
    ledger_required: bool = False
    no_cache: bool = False
    strict: bool = False
    no_copy: bool = False
    refresh: Literal["stale", "all-generated"] | None = None
    docs_blocks: bool = False
    cache_days: float | None = None
    parquet_dir: str | None = None
    parquet_buffer_rows: int = 100
    s3_on_failure: str = "continue"
    prompt_overrides: Mapping[str, str] = field(default_factory=dict)
    """Prompt key to template, from ``OSMOSIS_LLM_PROMPT_<KEY>``."""

    def to_metadata_dict(self) -> dict[str, Any]:
        """Return the settings that are not the default, as they may be stored."""
        changed: dict[str, Any] = {}
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value in (setting.default, {}):
                continue
            if setting.name in ("ledger_url", "parquet_dir"):
                value = without_credentials(value)
            changed[setting.name] = value if isinstance(value, (int, float)) else str(value)
        return changed

    def ledger_place(self, project_dir: Path | str | None) -> str | None:
        """Return the ledger's file or URL; None when none is wanted or there is no project.

        Args:
            project_dir: Where ``dbt_project.yml`` lies; relative paths start there.
        """
        if (self.ledger_url or "").lower() == "none":
            return None
        if self.ledger_url and "://" in self.ledger_url:
            return self.ledger_url
        if project_dir is None:
            return self.ledger_url
        return str(Path(project_dir).absolute() / (self.ledger_url or f"{_FOLDER}/ledger.db"))

    def lineage_place(self, project_dir: Path | str) -> Path | None:
        """Return the file that keeps what was read out of SQL; None when nothing is to be kept."""
        if (self.ledger_url or "").lower() == "none":
            return None
        return Path(project_dir).absolute() / _FOLDER / "lineage.db"


def read_env(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return a variable's value without surrounding blanks; set but empty counts as not set."""
    value = (os.environ if environ is None else environ).get(name, "").strip()
    return value or None


def load_settings(
    flags: Mapping[str, Any] | None = None,
    project_dir: Path | str | None = None,
    cli_vars: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings of a run: flags over environment over project over defaults.

    Args:
        flags: Field name to value as the command line gave it; None or False means not given.
        project_dir: Where ``dbt_project.yml`` lies; no project settings without it.
        cli_vars: The mapping given with ``--vars``, which overrides the project's variables.
        environ: Instead of the process's environment.

    Raises:
        SettingsError: A value that cannot be used, a key or a variable that does not exist.
    """
    overrides = _prompt_overrides(environ)
    _refuse_unknown_variables(environ)
    project = _project_settings(project_dir, cli_vars)
    values: dict[str, Any] = {}
    for option in OPTIONS:
        flag = (flags or {}).get(option.name)
        if flag is not None and flag is not False:
            values[option.name] = _parsed(option, str(flag), option.flag or option.name)
        elif option.env and (text := read_env(option.env, environ)) is not None:
            values[option.name] = _parsed(option, text, option.env)
        elif option.key in project:
            where = f"vars: dbt-osmosis: llm: {option.key}"
            values[option.name] = _parsed(option, str(project[option.key]), where)
            if option.name == "prompt_file" and project_dir is not None:
                values[option.name] = Path(project_dir) / values[option.name]
    if "model" in values and not (flags or {}).get("model"):
        model, own = values.pop("model"), str(project.get("provider") or Settings.provider)
        # The name of another vendor's model would be of no use.
        if own.strip().lower() == str(values.get("provider", Settings.provider)).strip().lower():
            values["project_model"] = model
    return Settings(**values, prompt_overrides=overrides)


def _parsed(option: Option, text: str, where: str) -> Any:
    try:
        return option.parse(text)
    except ValueError as error:
        raise SettingsError(f"{where} is {text!r}; it must be {error}.") from None


def _project_settings(
    project_dir: Path | str | None, cli_vars: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Read the plugin's section of the project's variables, those of ``--vars`` last."""
    found: dict[str, Any] = {}
    for variables in (_project_vars(project_dir), cli_vars):
        for name in ("dbt_osmosis", "dbt-osmosis"):
            section = variables.get(name) if isinstance(variables, Mapping) else None
            ours = section.get("llm") if isinstance(section, Mapping) else None
            if ours is not None and not isinstance(ours, Mapping):
                raise SettingsError(
                    f"vars: {name}: llm: is {ours!r}; it must be a mapping, "
                    "e.g. {provider: ollama}."
                )
            if isinstance(ours, Mapping):
                found.update({str(k).replace("-", "_"): v for k, v in ours.items()})
    known = {option.key for option in OPTIONS}
    for key in found:
        if key not in known:
            raise SettingsError(
                f"vars: dbt-osmosis: llm: has no key {key!r}.{did_you_mean(key, known)} "
                f"It has: {', '.join(sorted(known))}."
            )
    return {key: value for key, value in found.items() if value is not None}


def project_name(project_dir: Path | str | None) -> str | None:
    """Return the project's name as dbt_project.yml gives it."""
    name = _project_file(project_dir).get("name")
    return None if name is None else str(name)


def _project_vars(project_dir: Path | str | None) -> Any:
    """Return ``vars`` of dbt_project.yml; dbt does not render Jinja there, so neither do we."""
    return _project_file(project_dir).get("vars")


def _project_file(project_dir: Path | str | None) -> Mapping[str, Any]:
    if project_dir is None:
        return {}
    import ruamel.yaml

    try:
        text = Path(project_dir, "dbt_project.yml").read_text(encoding="utf-8")
        project = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except (OSError, UnicodeDecodeError, ruamel.yaml.YAMLError):
        return {}  # dbt itself reports a project file that it cannot read
    return project if isinstance(project, Mapping) else {}


def _prompt_overrides(environ: Mapping[str, str] | None) -> dict[str, str]:
    overrides: dict[str, str] = {}
    for name in sorted(os.environ if environ is None else environ):
        if not name.startswith(PROMPT_ENV_PREFIX) or name == f"{PROMPT_ENV_PREFIX}FILE":
            continue
        key = name.removeprefix(PROMPT_ENV_PREFIX).lower()
        if key not in PROMPT_KEYS:
            raise SettingsError(
                f"{name} is not a prompt.{did_you_mean(key, PROMPT_KEYS)} "
                f"There are: {', '.join(PROMPT_ENV_PREFIX + k.upper() for k in PROMPT_KEYS)}."
            )
        if (text := read_env(name, environ)) is not None:
            overrides[key] = text
    return overrides


def _refuse_unknown_variables(environ: Mapping[str, str] | None) -> None:
    # A typo in the name of a budget must not mean that there is none.
    names = (option.env for option in OPTIONS if option.env)
    known = [name.removeprefix(_ENV_PREFIX) for name in names if name.startswith(_ENV_PREFIX)]
    for name, value in sorted((os.environ if environ is None else environ).items()):
        rest = name.removeprefix(_ENV_PREFIX)
        is_ours = name.startswith(_ENV_PREFIX) and not name.startswith(PROMPT_ENV_PREFIX)
        if is_ours and rest not in known and value.strip():
            raise SettingsError(
                f"{name} is not a setting.{did_you_mean(rest, known, _ENV_PREFIX)} "
                "Correct its name or unset it."
            )


def parse_variables(text: str | None) -> Mapping[str, Any] | None:
    """Return the mapping given with ``--vars``, None where it is none; dbt-osmosis reports that."""
    if not text:
        return None
    import ruamel.yaml

    try:
        variables = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except ruamel.yaml.YAMLError:
        return None
    return variables if isinstance(variables, Mapping) else None


def without_credentials(url: str) -> str:
    """Return a URL that may be shown: no user, password, query or fragment."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    path = path.partition("?")[0].partition("#")[0]
    return f"{scheme}{separator}{host.rpartition('@')[2].partition('?')[0]}{slash}{path}"
