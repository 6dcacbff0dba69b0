#!/bin/sh
# Documents a copy of this project with the offline provider: no key, no network, nothing paid for.
# Usage, from the root of the repository, with dbt and dbt-osmosis on PATH:
#   sh tests/projects/demo/run.sh WORKDIR
set -eu

lines=70
marker=.made-by-the-demo
marts=models/marts/_marts__models.yml

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

[ "$#" -eq 1 ] && [ -n "$1" ] || fail "usage: sh $0 WORKDIR"
for tool in dbt dbt-osmosis; do
    command -v "$tool" >/dev/null || fail "$tool is not on PATH (make install, then use .venv/bin)"
done

# Only a directory that this script made, or an empty one, is ever removed.
if [ -e "$1" ] && [ ! -e "$1/$marker" ]; then
    [ -d "$1" ] && [ -z "$(ls -A "$1")" ] || fail "$1 exists and was not made by this demo; choose another WORKDIR"
fi
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
rm -rf -- "$1"
mkdir -p -- "$1"
work=$(CDPATH='' cd -- "$1" && pwd)
: >"$work/$marker"
for entry in dbt_project.yml profiles.yml data docs macros models seeds; do
    cp -R "$here/$entry" "$work/$entry"
done

# The demo's own settings, whatever the shell has set for other projects.
unset DBT_PROJECT_DIR DBT_PROFILE DBT_TARGET DBT_TARGET_PATH DBT_LOG_PATH
export DBT_PROFILES_DIR="$work" DBT_SEND_ANONYMOUS_USAGE_STATS=false

printf '$ cd %s\n' "$1"
cd "$work"
printf '$ dbt build --quiet\n'
if ! dbt build --quiet >.build.log 2>&1; then
    cat .build.log >&2
    fail "dbt build failed in $work"
fi

# What the YAML said before; dbt reads nothing outside models and seeds.
mkdir .before
cp -R models seeds .before/
descriptions() {
    find "$@" -name '*.yml' -exec cat {} + | grep -c 'description:' || true
}

printf '$ LLM_PROVIDER=offline dbt-osmosis yaml document --synthesize --llm-stats --log-level WARNING\n'
status=0
LLM_PROVIDER=offline dbt-osmosis yaml document --synthesize --llm-stats --log-level WARNING || status=$?
[ "$status" -eq 0 ] || fail "dbt-osmosis ended with exit code $status"

printf '\n$ diff -u .before/%s %s\n' "$marts" "$marts"
diff -u ".before/$marts" "$marts" | tail -n +3 >.marts.diff
head -n "$lines" .marts.diff
total=$(wc -l <.marts.diff)
if [ "$total" -gt "$lines" ]; then
    printf '... %s more lines; all files: cd %s && diff -ru .before/models models\n' "$((total - lines))" "$1"
fi

printf '\nDescriptions in the YAML files: %s before, %s now.\n' \
    "$(descriptions .before/models .before/seeds)" "$(descriptions models seeds)"
cat <<'END'

On your own project, with a key (LLM_PROVIDER names another provider than openai):
  export OPENAI_API_KEY=...
  dbt-osmosis yaml document --synthesize --llm-stats
END
