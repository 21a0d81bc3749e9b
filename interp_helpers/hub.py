"""The Hugging Face hub: a name becomes a folder on this machine, without waiting for a network that is not there."""

import os
from pathlib import Path

from .errors import ArgumentError

TIMEOUT = 5  # seconds until the hub counts as not reachable


def checked_name(operation, name, error=ArgumentError, example="gpt2"):
    """The name of a model or a data set, or a path, as a string. error: the class of the error when it is neither."""
    if not isinstance(name, (str, os.PathLike)) or not str(name).strip():  # an empty path is the current folder
        raise error(f"{operation}: name must be a string such as {example!r}, or a path; got {name!r:.60}.")
    return str(name)


def looks_like_path(name):
    """Whether a name is meant as a path: no hub id begins so, or has two slashes."""
    name = checked_name("looks_like_path", name)
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1


def fetch(name, *, kind, patterns, missing, operation, bundled, error, hint=""):
    """The cache folder of a hub repository. The network is asked only when the cache does not hold it whole.

    name: a hub id; kind: "model" or "dataset"; patterns: the files that are wanted, from its top folder and, for a
    data set, from folders inside. missing: folder -> what keeps it from being used, in words, or None.
    operation, bundled, hint: for the error's sentence; the hint stands behind the name. error: the class of the error.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    wanted = {"repo_type": kind, "allow_patterns": patterns}
    if kind == "model":
        wanted["ignore_patterns"] = ["*/*"]  # copies of the weights in other formats
    try:
        cached = Path(snapshot_download(name, local_files_only=True, **wanted))
        if missing(cached) is None:
            return cached
    except HFValidationError as problem:
        raise error(f"{operation}: {name!r}{hint} is not a {kind} name.") from problem
    except LocalEntryNotFoundError:
        pass
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=TIMEOUT)  # one question, no retries: 23 s of them are spared
    except RepositoryNotFoundError as problem:
        raise error(f"{operation}: the hub has no {kind} {name!r}{hint}, or it is private.") from problem
    except Exception as problem:  # no network, a proxy, a time-out, HF_HUB_OFFLINE: each has its own error
        raise error(
            f"{operation}: {name!r}{hint} is not on this machine and the Hugging Face hub cannot be reached "
            f"({type(problem).__name__}). Go on with {operation}({bundled!r}), which needs no network; or give "
            f"the path of a folder that holds the {kind}; or connect and try again."
        ) from problem
    try:
        folder = Path(snapshot_download(name, **wanted))
    except Exception as problem:  # the network is gone, or the disk is full
        raise error(
            f"{operation}: the download of {name!r} broke off ({type(problem).__name__}: {problem}). Files that came "
            f"whole are kept: try again, or go on with {operation}({bundled!r}), which needs no network."
        ) from problem
    if lacking := missing(folder):
        raise error(f"{operation}: the hub's {name!r} cannot be used: {lacking}.")
    return folder
