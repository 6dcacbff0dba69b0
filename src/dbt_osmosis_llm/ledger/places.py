"""Where exported files go: a local folder, or a prefix in an S3 bucket.

A reader never sees half a file: locally it is written under another name and renamed, to S3 it is
sent whole, from a file, because pyarrow completes an upload whose writer has failed.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar
from uuid import uuid4

from dbt_osmosis_llm.config import read_env, without_credentials
from dbt_osmosis_llm.ledger.database import LedgerError
from dbt_osmosis_llm.llm.redaction import redact_secrets
from dbt_osmosis_llm.llm.retry import retry_with_backoff

Result = TypeVar("Result")

_S3 = "s3://"
_RETRIES = 3
_RETRY_DELAY_S = 0.5
_CONNECT_S = 5.0
_REQUEST_S = 30.0

_AWS_ERROR = re.compile(r"AWS Error (?P<code>.+?) during \w+ operation: (?P<text>.*)", re.DOTALL)
_REQUEST_ID = re.compile(r"\s*\(Request ID: [^)]*\)")
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|HTTP status 404")
_NO_ACCESS = re.compile(r"DENIED|KEY|SIGNATURE|CREDENTIAL|TOKEN|HTTP status 40[13]")
_ELSEWHERE = re.compile(r"HTTP status 30|MOVED|REDIRECT")


class ExportError(LedgerError):
    """Rows cannot be written or read where they should go; the message says why in one line."""


class Place(Protocol):
    """A folder for files."""

    name: str
    """As it may be shown."""

    def new_file(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Give a file that is in place once it is closed, and nowhere after an exception.

        Args:
            path: Relative, with ``/``; a file of that name is replaced.

        Raises:
            ExportError: It cannot be written.
        """
        ...

    def arrow(self, path: str) -> tuple[Any, str]:
        """Return pyarrow's file system and the path in it.

        Raises:
            ExportError: pyarrow is not installed.
        """
        ...

    def attempt(self, action: Callable[[], Result]) -> Result:
        """Return what an action with these files returns, again and again where that may help.

        Raises:
            ExportError: It cannot be done.
        """
        ...


def load_pyarrow() -> Any:
    """Return pyarrow with the modules that are used of it.

    Raises:
        ExportError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.dataset
        import pyarrow.fs
        import pyarrow.parquet
    except ImportError:
        raise ExportError(
            "Parquet and s3:// need pyarrow: pip install 'dbt-osmosis-llm[parquet]'"
        ) from None
    return pyarrow


def open_place(where: str, *, sleep: Callable[[float], None] = time.sleep) -> Place:
    """Return the folder or the bucket's prefix of that name; nothing is written or asked yet.

    Args:
        where: A path or ``s3://bucket/prefix``.
        sleep: Instead of waiting in real time between attempts.

    Raises:
        ExportError: It is neither, or S3 and pyarrow is not installed.
    """
    if where.startswith(_S3):
        bucket, _, prefix = where.removeprefix(_S3).partition("/")
        prefix = prefix.strip("/")
        if not re.fullmatch(r"[A-Za-z0-9._-]+", bucket):
            raise ExportError(
                f"{without_credentials(where)} names no bucket; write s3://bucket/prefix, "
                "and give keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile"
            )
        if "//" in prefix:  # pyarrow has no name for that
            raise ExportError(f"{where!r} holds a folder without a name; write one slash only")
        return S3Place(bucket, prefix, sleep=sleep)
    if "://" in where or not where:
        shown = without_credentials(where)
        raise ExportError(f"{shown!r} is neither a path nor s3://bucket/prefix")
    return LocalPlace(Path(where).expanduser())


class LocalPlace:
    """A folder on this machine; made when the first file goes there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.name = str(folder)

    @contextmanager
    def new_file(self, path: str) -> Iterator[IO[bytes]]:
        """See `Place.new_file`."""
        target = self._folder / path
        # Neither hidden files nor this ending are read as Parquet by anyone.
        draft = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
        try:
            if target.is_dir():
                raise ExportError(f"{target} is a folder; name a file in it")
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except OSError as error:
            raise _local_error(error, target) from None
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def arrow(self, path: str) -> tuple[Any, str]:
        """See `Place.arrow`."""
        return load_pyarrow().fs.LocalFileSystem(), (self._folder / path).as_posix()

    def attempt(self, action: Callable[[], Result]) -> Result:
        """See `Place.attempt`; here nothing passes by itself."""
        try:
            return action()
        except OSError as error:
            raise _local_error(error, self._folder) from None


class S3Place:
    """A prefix in a bucket; credentials come from the standard AWS chain."""

    def __init__(
        self, bucket: str, prefix: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._root = f"{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._sleep = sleep
        self.name = f"{_S3}{self._root}"
        fs = load_pyarrow().fs
        self._endpoint = read_env("AWS_ENDPOINT_URL_S3") or read_env("AWS_ENDPOINT_URL")
        self._files = fs.S3FileSystem(
            endpoint_override=self._endpoint,
            region=read_env("AWS_REGION") or read_env("AWS_DEFAULT_REGION"),
            connect_timeout=_CONNECT_S,
            request_timeout=_REQUEST_S,
            # We repeat ourselves, and say so.
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )

    @contextmanager
    def new_file(self, path: str) -> Iterator[IO[bytes]]:
        """See `Place.new_file`."""
        try:
            with tempfile.TemporaryDirectory(prefix="dbt-osmosis-llm-") as folder:
                draft = Path(folder, "draft")
                with draft.open("wb") as file:
                    yield file
                self._upload(draft, path)
        except OSError as error:
            raise _local_error(error, Path(tempfile.gettempdir())) from None

    def _upload(self, source: Path, path: str) -> None:
        fs = load_pyarrow().fs
        self.attempt(
            lambda: fs.copy_files(
                str(source),
                f"{self._root}/{path}",
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self._files,
            )
        )

    def arrow(self, path: str) -> tuple[Any, str]:
        """See `Place.arrow`."""
        return self._files, f"{self._root}/{path}"

    def attempt(self, action: Callable[[], Result]) -> Result:
        """See `Place.attempt`; what comes again at once is not repeated."""

        @retry_with_backoff(_RETRIES, _RETRY_DELAY_S, sleep=self._sleep, label=self.name)
        def attempted() -> Result:
            try:
                return action()
            except OSError as error:
                code, _ = _parsed(error)
                if any(lasting.search(code) for lasting in (_NO_BUCKET, _NO_ACCESS, _ELSEWHERE)):
                    raise self._error(error) from None
                # What `retry_with_backoff` repeats.
                raise ConnectionError(str(self._error(error))) from None

        try:
            return attempted()
        except ConnectionError as error:
            raise ExportError(str(error)) from None

    def _error(self, error: OSError) -> ExportError:
        code, text = _parsed(error)
        at = f" at {without_credentials(self._endpoint)}" if self._endpoint else ""
        if _NO_BUCKET.search(code):
            return ExportError(
                f"{self.name}: there is no bucket {self._bucket!r}{at}; make it, or name another"
            )
        if _NO_ACCESS.search(code):
            remedy = (
                "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, "
                "and that they may write there"
            )
        elif _ELSEWHERE.search(code):
            remedy = "the bucket lies in another region, set AWS_REGION"
        else:
            remedy = "check the network, AWS_REGION and AWS_ENDPOINT_URL_S3"
        return ExportError(f"{self.name}{at}: {text}; {remedy}")


def _local_error(error: OSError, path: Path) -> ExportError:
    return ExportError(f"{path} cannot be used: {error.strerror or error}")


def _parsed(error: OSError) -> tuple[str, str]:
    """Return the code and the text of one of pyarrow's errors, the text in one line."""
    match = _AWS_ERROR.search(str(error))
    if match is None:
        return "", " ".join(redact_secrets(str(error)).split())
    text = " ".join(_REQUEST_ID.sub("", redact_secrets(match["text"])).split()).rstrip(".")
    return match["code"], f"{text} ({match['code']})".lstrip()
