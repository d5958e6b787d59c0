"""Downloads from the Hugging Face hub that can be resumed and whose checksums are verified.

huggingface_hub finds the file, sends tokens only to their host, follows redirects and retries. But
it discards what an interrupted process has fetched. Here the partial file stays beside the final
path, and the next call continues it. A file gets its final name only after its checksum matched.

``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` have their usual meaning.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentr_lite.actors.download.fetched import Fetched, OnBytes, check_space, file_checksum
from agentr_lite.actors.download.hub_session import (
    answers_explained,
    endpoint,
    hub_session,
    shown_endpoint,
)
from agentr_lite.actors.download.partial import (
    SUFFIX,
    Partial,
    Sink,
    TooLong,
    check_target,
    open_partial,
)
from agentr_lite.core.errors import ModelError

TRAINING_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model")
"""The files of a model's repository that training reads."""

_LONGEST_PART = 200
"""Bytes of a file's or folder's name. File systems take 255; a partial file's name is longer."""
_TRAINING_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
"""The names of a training directory's files. Others could look like these, and be others."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_SATISFIABLE = 416
_SHA1 = re.compile(r"[0-9a-f]{40}")


def repository_folder(root: Path, repo: str) -> Path:
    """The folder below ``root`` for a repository's files."""
    return root / repo.replace("/", "--")


def fetch(
    repo: str, file: str, root: Path, *, revision: str = "main", on_bytes: OnBytes | None = None
) -> Fetched:
    """Fetch a file of a repository, unless it is present with the right checksum.

    Args:
        repo: ``owner/name``.
        file: path in the repository.
        root: folder of all downloads.
        revision: branch, tag or commit.
        on_bytes: called with the progress.

    Raises:
        ModelError: there is no such file or repository, access is refused, the hub cannot be
            reached, the checksum is wrong, or there is no space.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    _check_path(file)
    target = repository_folder(root, repo) / file
    with answers_explained(repo, file, revision), hub_session():
        url = hf_hub_url(repo, file, revision=revision, endpoint=endpoint())
        about = get_hf_file_metadata(url)
        size, checksum = about.size, (about.etag or "").lower()
        stated = _SHA256.fullmatch(checksum) or _SHA1.fullmatch(checksum)
        if size is None or size < 0 or not stated:
            raise ModelError(
                f"{shown_endpoint()} gives no size or checksum for {repo}/{file}",
                hint="HF_ENDPOINT must be a hub, or a mirror that forwards the hub's headers.",
            )
        # It becomes a part of an address, and is shown and stored.
        commit = about.commit_hash or ""
        present = Fetched(
            target, commit if _SHA1.fullmatch(commit) else revision, checksum, size, True
        )
        if _is_there(target, checksum):
            return present
        check_target(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{checksum[:16]}{SUFFIX}")
        with open_partial(part, keep=True) as partial:
            if _is_there(target, checksum):
                # Another process has finished it in the meantime.
                return present
            if partial.size > size:
                partial.cut(0)
            check_space(target.parent, size - partial.size)
            # By commit, not by branch: a partial file must be continued from the same version.
            url = hf_hub_url(repo, file, revision=present.revision, endpoint=endpoint())
            _fill(partial, url, size, file, on_bytes)
            partial.stream.flush()
            if file_checksum(part, checksum) != checksum:
                partial.cut(0)
                raise ModelError(
                    f"the download of {repo}/{file} does not have the checksum that"
                    f" {shown_endpoint()} states ({checksum[:12]}); it was deleted",
                    hint="Try again. If this repeats, a proxy or mirror alters the file.",
                )
            partial.finish(target)
    return Fetched(target, present.revision, checksum, size, False)


def _is_there(target: Path, checksum: str) -> bool:
    return target.is_file() and file_checksum(target, checksum) == checksum


def _fill(partial: Partial, url: str, size: int, file: str, on_bytes: OnBytes | None) -> None:
    """Fetch what is missing of a file.

    A hub that refuses the missing part, or sends another one, gets a second chance with the whole
    file: otherwise, no later call could end the download either.
    """
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    from agentr_lite.core.http import WrongRange

    for whole in (False, True):
        if whole:
            partial.cut(0)
        try:
            http_get(
                url,
                Sink(partial.stream, size, f"{shown_endpoint()} sends {file}"),  # type: ignore[arg-type]
                resume_size=partial.size,
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=file,
                tqdm_class=_reporter(file, size, on_bytes),
            )
        except TooLong:
            partial.cut(0)
            raise
        except (HfHubHTTPError, WrongRange) as error:
            refused = (
                isinstance(error, WrongRange) or error.response.status_code == _NOT_SATISFIABLE
            )
            if whole or not refused or not partial.size:
                raise
        else:
            return


def list_files(repo: str, *, revision: str = "main") -> list[str]:
    """Paths of a repository's files, sorted.

    Raises:
        ModelError: see ``fetch``.
    """
    from huggingface_hub import HfApi

    with answers_explained(repo, "", revision), hub_session():
        files = HfApi(endpoint=endpoint()).list_repo_files(repo, revision=revision)
        if not all(isinstance(name, str) for name in files):
            raise TypeError("a file's name is no text")
        return sorted(files)


def fetch_model_directory(
    repo: str, root: Path, *, revision: str = "main", on_bytes: OnBytes | None = None
) -> Path:
    """Fetch the files of a repository that training needs.

    Returns:
        A directory with config.json, tokenizer and weights.

    Raises:
        ModelError: see ``fetch``; or the repository holds no model to train.
    """
    files = [name for name in list_files(repo, revision=revision) if _trains(name)]
    weights = [name for name in files if name.endswith(".safetensors")]
    if "config.json" not in files or not weights:
        raise ModelError(
            f"{repo} cannot be trained: it has no config.json or no safetensors",
            hint="Name a repository in the Hugging Face or MLX layout.",
        )
    if len({name.lower() for name in files}) < len(files):
        raise ModelError(f"{repo} has two files whose names differ in upper and lower case only")
    commit = revision
    for name in files:
        # All files must be of the same commit as the first one.
        commit = fetch(repo, name, root, revision=commit, on_bytes=on_bytes).revision
    return repository_folder(root, repo)


def _trains(name: str) -> bool:
    # Subfolders hold other formats of the same weights.
    return _TRAINING_NAME.fullmatch(name) is not None and any(
        fnmatch.fnmatch(name, kind) for kind in TRAINING_FILES
    )


def _check_path(file: str) -> None:
    """Refuse what is no path of a file below its repository's folder.

    Raises:
        ModelError: it is absolute, leads out, is too long, or has characters that cannot be seen
            or that look like others.
    """
    parts = file.split("/")
    wrong = (
        any(part in ("", ".", "..") or len(part.encode()) > _LONGEST_PART for part in parts)
        or "\\" in file
        or not file.isprintable()
        # Full-width slashes and dots, and letters that some file systems take for others.
        or unicodedata.normalize("NFKC", file) != file
        # Our own files beside a download.
        or file.endswith(SUFFIX)
    )
    if wrong:
        raise ModelError(f"{file[:_LONGEST_PART]!r} is not the path of a file in a repository")


def _reporter(file: str, size: int, on_bytes: OnBytes | None) -> Any:
    """A stand-in for the progress bar that huggingface_hub calls."""

    class Reporter:
        def __init__(self, *, initial: int = 0, **_: Any) -> None:
            self._there = initial
            self.update(0)

        def update(self, count: int) -> None:
            self._there += count
            if on_bytes is not None:
                on_bytes(file, self._there, size)

        def __enter__(self) -> Reporter:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    return Reporter


def gguf_files(files: Sequence[str]) -> list[str]:
    """The GGUF files that can be used alone; parts of a split file cannot."""
    return [
        name
        for name in files
        if name.endswith(".gguf") and not re.search(r"-\d{5}-of-\d{5}\.gguf$", name)
    ]
