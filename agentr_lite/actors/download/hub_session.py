"""How huggingface_hub asks the hub: with our limits, and with its failures explained."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agentr_lite.core.errors import AgentrError, ModelError, from_os_error
from agentr_lite.core.secrets import Secrets, userinfo

if TYPE_CHECKING:
    import httpx2 as httpx

    from agentr_lite.core.http import Limits

DEFAULT_ENDPOINT = "https://huggingface.co"
_MOST_REQUESTS = 60
"""For one file or list: redirects, and attempts after broken connections."""
_MOST_REDIRECTS = 10
_ANSWER_S = 60.0
LEAST_BYTES, WINDOW_S = 4096, 60.0
"""A download must bring so many bytes in so many seconds."""
_QUOTED = 200


def endpoint() -> str:
    """The hub's address."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def shown_endpoint() -> str:
    """The hub's address for messages, without a password."""
    return secrets().in_message(endpoint())


def secrets() -> Secrets:
    """The token and the password that the hub is asked with."""
    from huggingface_hub import get_token

    return Secrets([get_token() or "", *userinfo(endpoint())])


@contextmanager
def hub_session() -> Generator[None]:
    """Let huggingface_hub use a client with limits inside the block."""
    import httpx2 as httpx
    from huggingface_hub import close_session, constants, set_client_factory
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import logging

    from agentr_lite.core.http import LOOPBACK, LimitedTransport, no_cookies

    if constants.is_offline_mode():
        raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
    budget = iter(range(_MOST_REQUESTS))
    here = (urlsplit(endpoint()).hostname or "").lower() in LOOPBACK

    def client() -> httpx.Client:
        # The library may close a client and open another one; the requests count together.
        return httpx.Client(
            transport=LimitedTransport(_limits_of, budget=budget, trust_env=not here),
            follow_redirects=True,
            max_redirects=_MOST_REDIRECTS,
            cookies=no_cookies(),
            timeout=None,
        )

    before = logging.get_verbosity()
    set_client_factory(client)
    # Its warnings repeat what a server says, as it is.
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        close_session()


def _limits_of(request: httpx.Request) -> Limits:
    from agentr_lite.core.http import Limits

    if request.method == "GET" and not request.url.path.startswith("/api/"):
        return Limits(_ANSWER_S, most_bytes=None, least_bytes=LEAST_BYTES, window_s=WINDOW_S)
    return Limits(_ANSWER_S)


@contextmanager
def answers_explained(repo: str, file: str, revision: str) -> Generator[None]:
    """Turn huggingface_hub's exceptions into errors that say what to do.

    Args:
        repo: ``owner/name``.
        file: path in the repository; empty: the list of files is asked for.
        revision: branch, tag or commit.
    """
    import httpx2 as httpx
    from huggingface_hub import errors

    from agentr_lite.core.http import Unacceptable

    wanted = f"{repo}/{file}" if file else repo
    place = shown_endpoint()
    shown = secrets().in_message
    try:
        yield
    except AgentrError:
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
    except Unacceptable as error:
        raise ModelError(
            f"{place} sends for {wanted} what no client should take: {shown(str(error))}",
            hint="HF_ENDPOINT must be a hub or a mirror of it. Try again later; the part fetched so"
            " far is kept.",
        ) from error
    except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise ModelError(
            f"{place} sends the request for {wanted} to where no file is: {shown(str(error))}",
            hint="HF_ENDPOINT must be a hub or a mirror of it.",
        ) from error
    except httpx.HTTPError as error:
        raise ModelError(
            f"{place} cannot be reached for {wanted}: {shown(str(error)) or type(error).__name__}",
            hint="Check the network. The same command continues where this one stopped. Without a"
            " network, copy the file here and add it with `agentr-lite models add`.",
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise from_os_error(error) from error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"the download of {wanted} from {place} is incomplete: {shown(first)}",
            hint="The same command continues where this one stopped.",
        ) from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # The library reads answers as a hub gives them.
        said = shown(" ".join(str(error).split()))[:_QUOTED]
        raise ModelError(
            f"{place} answers for {wanted} in a form that no hub has ({said})",
            hint="HF_ENDPOINT must be a hub or a mirror of it.",
        ) from error
