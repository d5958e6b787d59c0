"""Downloads from the Hugging Face hub that can be resumed and whose checksums are verified.

huggingface_hub finds the file, sends tokens only to their host, follows redirects and retries. But
it discards what an interrupted process has fetched. Here the partial file stays beside the final
path, and the next call continues it. A file gets its final name only after its checksum matched.

``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` have their usual meaning.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentr_lite.actors.download.fetched import Fetched, OnBytes, check_space, file_checksum
from agentr_lite.core.errors import ModelError, from_os_error

DEFAULT_ENDPOINT = "https://huggingface.co"
TRAINING_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model")
"""The files of a model's repository that training reads."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


def endpoint() -> str:
    """The hub's address."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


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
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    _check_path(file)
    target = repository_folder(root, repo) / file
    with _explained(repo, file, revision):
        url = hf_hub_url(repo, file, revision=revision, endpoint=endpoint())
        about = get_hf_file_metadata(url)
        size, checksum = about.size, (about.etag or "").lower()
        if size is None or not (_SHA256.fullmatch(checksum) or _SHA1.fullmatch(checksum)):
            raise ModelError(
                f"{endpoint()} gives no size or checksum for {repo}/{file}",
                hint="HF_ENDPOINT must be a hub, or a mirror that forwards the hub's headers.",
            )
        present = Fetched(target, about.commit_hash or revision, checksum, size, True)
        if target.is_file() and file_checksum(target, checksum) == checksum:
            return present
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{checksum[:16]}.part")
        have = part.stat().st_size if part.is_file() else 0
        if have > size:
            part.unlink()
            have = 0
        check_space(target.parent, size - have)
        # By commit, not by branch: a partial file must be continued from the same version.
        url = hf_hub_url(repo, file, revision=present.revision, endpoint=endpoint())
        with part.open("ab") as stream:
            http_get(
                url,
                stream,
                resume_size=have,
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=file,
                tqdm_class=_reporter(file, size, on_bytes),
            )
        if file_checksum(part, checksum) != checksum:
            part.unlink()
            raise ModelError(
                f"the download of {repo}/{file} does not have the checksum that {endpoint()} states"
                f" ({checksum[:12]}); it was deleted",
                hint="Try again. If this repeats, a proxy or mirror alters the file.",
            )
        part.replace(target)
    return Fetched(target, present.revision, checksum, size, False)


def list_files(repo: str, *, revision: str = "main") -> list[str]:
    """Paths of a repository's files, sorted.

    Raises:
        ModelError: see ``fetch``.
    """
    from huggingface_hub import HfApi

    with _explained(repo, "", revision):
        return sorted(HfApi(endpoint=endpoint()).list_repo_files(repo, revision=revision))


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
    commit = revision
    for name in files:
        # All files must be of the same commit as the first one.
        commit = fetch(repo, name, root, revision=commit, on_bytes=on_bytes).revision
    return repository_folder(root, repo)


def _trains(name: str) -> bool:
    # Subfolders hold other formats of the same weights.
    return "/" not in name and any(fnmatch.fnmatch(name, kind) for kind in TRAINING_FILES)


def _check_path(file: str) -> None:
    if file.startswith("/") or ".." in Path(file).parts or "\\" in file:
        raise ModelError(f"'{file}' is not the path of a file in a repository")


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


@contextmanager
def _explained(repo: str, file: str, revision: str) -> Generator[None]:
    """Turn huggingface_hub's exceptions into errors that say what to do."""
    import httpx2 as httpx
    from huggingface_hub import errors

    wanted = f"{repo}/{file}" if file else repo
    place = endpoint()
    try:
        yield
    except ModelError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise ModelError(
            f"{wanted} is not on this machine, and HF_HUB_OFFLINE forbids fetching it",
            hint="Unset HF_HUB_OFFLINE, or copy the file here and add it with"
            " `agentr-lite models add`.",
        ) from error
    except errors.HFValidationError as error:
        raise ModelError(
            f"'{repo}' is not a repository's name: {error}", hint="It has the form OWNER/NAME."
        ) from error
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repo} is gated: you must accept its licence first",
            hint=f"Accept it at {place}/{repo}, create a token in your account's settings, and set"
            " HF_TOKEN.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{repo} has no revision '{revision}'") from error
    except errors.EntryNotFoundError as error:
        raise ModelError(
            f"{repo} has no file '{file}'", hint=f"{place}/{repo}/tree/{revision} lists them."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no repository {repo} at {place}, or it is private",
            hint="Check the name; for a private one, set HF_TOKEN.",
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        token = "Check HF_TOKEN: it may be wrong or may not allow reading."
        raise ModelError(
            f"{place} refuses {wanted} (HTTP {status})",
            hint=token
            if status in (401, 403)
            else "Try again later; the part fetched so far is kept.",
        ) from error
    except httpx.TransportError as error:
        raise ModelError(
            f"{place} cannot be reached for {wanted}: {error or type(error).__name__}",
            hint="Check the network. The same command continues where this one stopped. Without a"
            " network, copy the file here and add it with `agentr-lite models add`.",
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise from_os_error(error) from error
        raise ModelError(
            f"the download of {wanted} is incomplete: {str(error).splitlines()[0]}",
            hint="The same command continues where this one stopped.",
        ) from error


def gguf_files(files: Sequence[str]) -> list[str]:
    """The GGUF files that can be used alone; parts of a split file cannot."""
    return [
        name
        for name in files
        if name.endswith(".gguf") and not re.search(r"-\d{5}-of-\d{5}\.gguf$", name)
    ]
