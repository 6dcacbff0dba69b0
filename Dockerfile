# dbt-osmosis with this plugin and an adapter, for a project that is mounted at /project:
#
#   docker build --build-arg ADAPTER=dbt-postgres --tag dbt-osmosis-llm .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/project" --env OPENAI_API_KEY \
#     dbt-osmosis-llm yaml document --synthesize
#
# profiles.yml is looked for in /project, then in /home/dbt/.dbt: mount ~/.dbt there if need be, or
# set DBT_PROFILES_DIR. dbt itself: docker run … --entrypoint dbt dbt-osmosis-llm deps
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
# One requirement, e.g. dbt-snowflake or dbt-bigquery==1.10.*
ARG ADAPTER=dbt-duckdb
WORKDIR /source
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# Built as a wheel: an editable installation would need the source in the image that runs.
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
  --constraint constraints.txt ".[all]" "${ADAPTER}"

FROM python:${PYTHON}-slim
# `dbt deps` fetches packages with git. Debian keeps one version at a time, so none is named.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends git \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --create-home --uid 1000 dbt
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH HOME=/home/dbt
USER 1000
WORKDIR /project
ENTRYPOINT ["dbt-osmosis"]
CMD ["--help"]
