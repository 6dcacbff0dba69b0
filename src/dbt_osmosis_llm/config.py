"""Settings: the only reader of environment variables and of ``vars: dbt-osmosis: llm:``.

Each setting is one row of `Settings`; the command line, the environment, the project, the reference
in the docs and what other parts take as it is all come from there. Precedence: flag, environment,
project, default.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

_ENV_PREFIX = "OSMOSIS_LLM_"
PROMPT_ENV_PREFIX = f"{_ENV_PREFIX}PROMPT_"
_FOLDER = ".dbt-osmosis-llm"
"""In the project: what is kept from one run to the next."""

_USER_AND_PASSWORD = re.compile(r"^[^/]*@|^[^:/@]*:[^@]*@")

PROMPT_KEYS = (
    "model_system",
    "model_user",
    "table_system",
    "table_user",
    "column_system",
    "column_user",
)


Value = TypeVar("Value")


class SettingsError(ValueError):
    """A setting that cannot be used, said in one line with the remedy."""


def did_you_mean(value: str, known: Iterable[str], prefix: str = "") -> str:
    """Return `` Did you mean 'x'?`` for a likely typo, else an empty string.

    Args:
        value: What the user wrote, without the prefix.
        known: What there is, without the prefix.
        prefix: Of all of them, which makes none more like another.
    """
    by_lower = {name.lower(): name for name in known}
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
        # Not the other way round: nan compares with nothing.
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


def _setting(
    default: Value,
    parse: Callable[[str], Any],
    help: str,
    *,
    key: str = "",
    flag: str | None = None,
    env: str | None = None,
    metavar: str | None = None,
    of: str = "",
) -> Value:
    """Declare a setting: the field's row in the one table of them.

    Args:
        default: Its value when nobody sets it.
        parse: Text to value; its ValueError says what is wanted instead.
        help: What it does, in one sentence.
        key: Under ``vars: dbt-osmosis: llm:``; the field's name when empty.
        flag: On the command line.
        env: Variable of the environment.
        metavar: What stands for the value in the help.
        of: Where it goes unchanged, e.g. ``LLMConfig.max_in_flight``; see `Settings.of`.
    """
    row = {"parse": parse, "help": help, "flag": flag, "env": env, "metavar": metavar}
    declared: Value = field(default=default, metadata={**row, "key": key, "of": of})
    return declared


@dataclass(frozen=True)
class Settings:
    """What the user wants of a run, from all places, checked; each setting is one row here."""

    prompt_file: Path | None = _setting(
        None,
        Path,
        "YAML file with your own prompts, rules, glossary and language.",
        flag="--llm-prompt-file",
        env="OSMOSIS_LLM_PROMPT_FILE",
        metavar="PATH",
    )
    show_stats: bool = _setting(
        False,
        _boolean,
        "Print requests, tokens and cost at the end.",
        key="stats",
        flag="--llm-stats",
        env="OSMOSIS_LLM_TRACK_USAGE",
    )
    plan_only: bool = _setting(
        False,
        _boolean,
        "Show what would be asked and what it would cost; nothing is asked or written.",
        flag="--llm-dry-run",
    )
    timeout_s: float = _setting(
        120.0,
        _number(float, 0.1, "seconds"),
        "Bound on one request, in seconds.",
        key="timeout",
        flag="--llm-timeout",
        env="OSMOSIS_LLM_TIMEOUT",
        metavar="SECONDS",
        of="LLMConfig.timeout_s",
    )
    provider: str = _setting(
        "openai",
        str,
        "Whose model to ask, e.g. openai, ollama, lm-studio, offline.",
        flag="--llm-provider",
        env="LLM_PROVIDER",
        metavar="NAME",
    )
    model: str | None = _setting(
        None,
        str,
        "Which model to ask; the provider's default or its *_MODEL variable otherwise.",
        flag="--llm-model",
        metavar="NAME",
        of="LLMConfig.model",
    )
    """As the command line says."""
    max_retries: int = _setting(
        3,
        _number(int, 0, "retries"),
        "How often a request that failed in passing is repeated.",
        env="OSMOSIS_LLM_MAX_RETRIES",
        of="LLMConfig.max_retries",
    )
    retry_delay_s: float = _setting(
        1.0,
        _number(float, 0, "seconds"),
        "Longest wait before the first repetition, in seconds; doubles with each.",
        key="retry_delay",
        env="OSMOSIS_LLM_RETRY_DELAY",
        of="LLMConfig.retry_delay_s",
    )
    concurrency: int | None = _setting(
        None,
        _number(int, 1, "requests"),
        "Requests at the same time; 16, 2 for models that run on your machines.",
        flag="--llm-concurrency",
        env="OSMOSIS_LLM_CONCURRENCY",
        metavar="N",
        of="LLMConfig.max_in_flight",
    )
    requests_per_minute: float | None = _setting(
        None,
        _number(float, 0.1, "requests a minute"),
        "Requests a minute at most; 60 until the provider says otherwise, none on this machine.",
        key="rate_limit",
        flag="--llm-rate-limit",
        env="OSMOSIS_LLM_RATE_LIMIT",
        metavar="N",
        of="LLMConfig.requests_per_minute",
    )
    tokens_per_minute: float | None = _setting(
        None,
        _number(float, 100, "tokens a minute"),
        "Tokens a minute at most, prompts and answers together.",
        key="token_limit",
        flag="--llm-token-limit",
        env="OSMOSIS_LLM_TOKEN_LIMIT",
        metavar="N",
        of="LLMConfig.tokens_per_minute",
    )
    max_cost_usd: float | None = _setting(
        None,
        _number(float, 0, "US dollars"),
        "Stop before the request that would make the run cost more, in US dollars.",
        key="max_cost",
        flag="--llm-max-cost",
        env="OSMOSIS_LLM_MAX_COST",
        metavar="USD",
        of="LLMConfig.max_cost_usd",
    )
    temperature: float | None = _setting(
        None,
        _number(float, 0, "temperature units"),
        "Sampling temperature; sent only when set, many current models refuse it.",
        env="OSMOSIS_LLM_TEMPERATURE",
        of="LLMConfig.temperature",
    )
    max_output_tokens: int | None = _setting(
        None,
        _number(int, 16, "tokens"),
        "Bound on one answer, in tokens; grows with the number of columns when not set.",
        env="OSMOSIS_LLM_MAX_OUTPUT_TOKENS",
        of="LLMConfig.max_output_tokens",
    )
    max_sql_chars: int | None = _setting(
        None,
        _number(int, 200, "characters"),
        "Cut a model's SQL in the prompt after so many characters.",
        env="OSMOSIS_LLM_MAX_SQL_CHARS",
        of="Engine.max_sql_chars",
    )
    max_prompt_tokens: int = _setting(
        12_000,
        _number(int, 1000, "tokens"),
        "About how many tokens a prompt may take; what says least about the columns asked for is "
        "left out of a longer one.",
        env="OSMOSIS_LLM_MAX_PROMPT_TOKENS",
        of="Engine.max_prompt_tokens",
    )
    context_window: int | None = _setting(
        None,
        _number(int, 1000, "tokens"),
        "Prompt and answer together, in tokens; longer requests are split and their SQL is cut. "
        "Known for most hosted models.",
        env="OSMOSIS_LLM_CONTEXT_WINDOW",
    )
    redact_pii: bool = _setting(
        False,
        _boolean,
        "Mask e-mail addresses, phone, card and social security numbers in the SQL that is sent.",
        env="OSMOSIS_LLM_REDACT_PII",
        of="Engine.redact_pii",
    )
    sample: bool = _setting(
        False,
        _boolean,
        "Send the values of seeds' columns that have at most ten; no rows of data are sent else.",
        flag="--llm-sample",
    )
    ledger_url: str | None = _setting(
        None,
        str,
        "Where calls and answers are kept: a file, a database's URL, or `none`; "
        ".dbt-osmosis-llm/ledger.db in the project otherwise.",
        env="OSMOSIS_LLM_LEDGER_URL",
    )
    ledger_required: bool = _setting(
        False,
        _boolean,
        "Stop when the ledger fails, instead of going on without it.",
        env="OSMOSIS_LLM_LEDGER_REQUIRED",
    )
    no_cache: bool = _setting(
        False,
        _boolean,
        "Ask again what was answered before; the new answers take the place of the old.",
        flag="--llm-no-cache",
    )
    strict: bool = _setting(
        False,
        _boolean,
        "Ask once more for texts that a check finds fault with, naming the fault.",
        flag="--llm-strict",
        of="Engine.strict",
    )
    no_copy: bool = _setting(
        False,
        _boolean,
        "Ask for columns that are upstream columns unchanged, instead of taking over their texts.",
        flag="--llm-no-copy",
    )
    refresh: Literal["stale", "all-generated"] | None = _setting(
        None,
        _one_of("stale", "all-generated"),
        "Write texts of ours again: `stale` those whose SQL, upstream texts, tests or type have "
        "changed, or `all-generated`. What a person wrote or edited stays.",
        flag="--llm-refresh",
        env="OSMOSIS_LLM_REFRESH",
        metavar="WHICH",
    )
    docs_blocks: bool = _setting(
        False,
        _boolean,
        "Write a generated text that serves three or more columns once, as a docs block.",
        flag="--llm-docs-blocks",
        env="OSMOSIS_LLM_DOCS_BLOCKS",
    )
    cache_days: float | None = _setting(
        None,
        _number(float, 0, "days"),
        "How old an answer may be to be used again, in days.",
        env="OSMOSIS_LLM_CACHE_DAYS",
    )
    parquet_dir: str | None = _setting(
        None,
        str,
        "Also write each call as it happens to Parquet files in this folder or s3:// URL.",
        env="OSMOSIS_LLM_PARQUET_DIR",
    )
    parquet_buffer_rows: int = _setting(
        100,
        _number(int, 1, "rows"),
        "How many rows one of those Parquet files holds.",
        env="OSMOSIS_LLM_PARQUET_BUFFER_ROWS",
    )
    s3_on_failure: str = _setting(
        "continue",
        _one_of("error", "continue"),
        "What to do when those Parquet files cannot be written: `error` ends the run.",
        env="OSMOSIS_LLM_S3_ON_FAILURE",
    )
    project_model: str | None = None
    """As the project says for its provider; the provider's variable comes before it."""
    prompt_overrides: Mapping[str, str] = field(default_factory=dict)
    """Prompt key to template, from ``OSMOSIS_LLM_PROMPT_<KEY>``."""

    def of(self, part: str) -> dict[str, Any]:
        """Return the settings that a part takes as they are, by its own names for them.

        Args:
            part: Name of a class, as the rows have it.
        """
        arguments = {}
        for row in fields(self):
            owner, _, name = row.metadata.get("of", "").partition(".")
            if owner == part:
                arguments[name] = getattr(self, row.name)
        return arguments

    def to_metadata_dict(self) -> dict[str, Any]:
        """Return the settings that are not the default, as they may be stored."""
        changed: dict[str, Any] = {}
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value in (setting.default, {}):
                continue
            # URLs may hold a password, and this goes on record.
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


OPTIONS: tuple[Option, ...] = tuple(
    Option(
        row.name,
        row.metadata["key"] or row.name,
        default=row.default,
        **{name: row.metadata[name] for name in ("parse", "help", "flag", "env", "metavar")},
    )
    for row in fields(Settings)
    if row.metadata
)
"""The rows of `Settings` that a user sets, for the command line, the environment and the docs."""


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
            # As text, so that one parser checks the values of YAML, too.
            values[option.name] = _parsed(option, str(project[option.key]), where)
            # In a project's file a path begins at the project, wherever the command was typed.
            if option.name == "prompt_file" and project_dir is not None:
                values[option.name] = Path(project_dir) / values[option.name]
    if "model" in values and not (flags or {}).get("model"):
        model = values.pop("model")
        of_project = str(project.get("provider") or Settings.provider)
        chosen = str(values.get("provider", Settings.provider))
        # The name of another vendor's model would be of no use.
        if of_project.strip().lower() == chosen.strip().lower():
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
    settings: dict[str, Any] = {}
    for variables in (_project_vars(project_dir), cli_vars):
        # dbt-osmosis reads both spellings, and prefers the second where both are there.
        for name in ("dbt_osmosis", "dbt-osmosis"):
            section = variables.get(name) if isinstance(variables, Mapping) else None
            ours = section.get("llm") if isinstance(section, Mapping) else None
            if ours is not None and not isinstance(ours, Mapping):
                raise SettingsError(
                    f"vars: {name}: llm: is {ours!r}; it must be a mapping, "
                    "e.g. {provider: ollama}."
                )
            if isinstance(ours, Mapping):
                settings.update({str(k).replace("-", "_"): v for k, v in ours.items()})
    keys = {option.key for option in OPTIONS}
    for key in settings:
        if key not in keys:
            raise SettingsError(
                f"vars: dbt-osmosis: llm: has no key {key!r}.{did_you_mean(key, keys)} "
                f"It has: {', '.join(sorted(keys))}."
            )
    return {key: value for key, value in settings.items() if value is not None}


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
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = Path(project_dir, "dbt_project.yml").read_text(encoding="utf-8")
        project = YAML(typ="safe", pure=True).load(text)
    except (OSError, UnicodeDecodeError, YAMLError):
        return {}  # dbt itself reports a project file that it cannot read
    return project if isinstance(project, Mapping) else {}


def _prompt_overrides(environ: Mapping[str, str] | None) -> dict[str, str]:
    overrides: dict[str, str] = {}
    for name in sorted(os.environ if environ is None else environ):
        # OSMOSIS_LLM_PROMPT_FILE is a setting, whatever it begins with.
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
    known_names = [name.removeprefix(_ENV_PREFIX) for name in names if name.startswith(_ENV_PREFIX)]
    for name, value in sorted((os.environ if environ is None else environ).items()):
        rest = name.removeprefix(_ENV_PREFIX)
        is_ours = name.startswith(_ENV_PREFIX) and not name.startswith(PROMPT_ENV_PREFIX)
        if is_ours and rest not in known_names and value.strip():
            raise SettingsError(
                f"{name} is not a setting.{did_you_mean(rest, known_names, _ENV_PREFIX)} "
                "Correct its name or unset it."
            )


def parse_variables(text: str | None) -> Mapping[str, Any] | None:
    """Return the mapping given with ``--vars``, None where it is none; dbt-osmosis reports that."""
    if not text:
        return None
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        variables = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return None
    return variables if isinstance(variables, Mapping) else None


def without_credentials(url: str) -> str:
    """Return a URL that may be shown: no user, password, query or fragment."""
    scheme, separator, rest = url.partition("://")
    rest = rest.partition("?")[0].partition("#")[0]
    # SQLAlchemy takes a password with slashes, so the first one does not end the address.
    return f"{scheme}{separator}{_USER_AND_PASSWORD.sub('', rest)}"
