"""A run's model on the Hub: rights are checked before the training, pushes are tried again, the folder stays whole."""

import logging
import shlex
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from transformers import PreTrainedModel

from ..files import link_folder
from .arguments import HubArguments


logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# A model's files lie at the top of a run's folder; below are checkpoints, what trackers write, the best model so far.
IGNORED = ("*/*", ".*")
WAITS = (1, 2, 4, 8)  # seconds before each new try
_SNAPSHOT = ".hub_snapshot"
# What has nothing to do with the rights of the token.
REFUSALS = {
    400: "the Hub refuses what was sent",
    402: "the Hub asks for a payment",
    408: "the Hub waited too long for what was sent",
    409: "something else is being written to it at the same time; push it later",
    410: "the Hub has no such thing any more",
    412: "it has changed since this push began; push it later",
    413: "it is larger than the Hub takes",
    422: "the Hub refuses what was sent",
    429: "the Hub has had too many requests; wait, then push it later",
}
_OF_THIS_MACHINE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class HubError(OSError):
    """The Hub cannot be written to. The message says why, and what to do."""


def prepare_repository(name: str, private: bool = False) -> str:
    """
    Makes a model's repository where there is none, and sees to it that it can be written to.

    The token is the one of `HF_TOKEN` or of `hf auth login`.

    Args:
        name (`str`):
            `user/name`, or `name` for the user of the token.
        private (`bool`, *optional*, defaults to `False`):
            Whether a new repository is private.

    Returns:
        `str`: `user/name`.

    Raises:
        HubError: If there is no token or not the right, or the Hub cannot be reached.
    """
    api = HfApi()
    try:
        api.whoami()
        name = api.create_repo(name, private=private, exist_ok=True).repo_id
        api.auth_check(name, write=True)
    except (HTTPError, HFValidationError, OSError) as error:
        raise HubError(_explained(error, name)) from error
    return name


def push_folder(
    folder: str | Path,
    name: str,
    message: str = "Upload model",
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """
    Pushes the files of a folder to a repository that exists, but for hidden ones and those in folders, which are
    checkpoints. It does not change the folder.

    What fails for want of a network, or because the Hub is out of order, is tried again.

    Args:
        folder (`str` or `Path`):
            The folder.
        name (`str`):
            `user/name`.
        message (`str`, *optional*, defaults to `"Upload model"`):
            The commit's.
        revision (`str`, *optional*):
            The branch, which is made where there is none. Defaults to `main`.
        create_pr (`bool`, *optional*, defaults to `False`):
            Whether to open a pull request instead.

    Returns:
        `str`: The address of the commit, or of the pull request.

    Raises:
        HubError: If it could not be pushed.
    """
    api = HfApi()

    def push() -> str:
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
            ignore_patterns=list(IGNORED),
        )
        return str(commit.pr_url or commit.commit_url)

    try:
        return try_again(push)
    except (HTTPError, HFValidationError, OSError, RuntimeError) as error:
        raise HubError(_explained(error, name)) from error


def try_again(function: Callable[[], Result]) -> Result:
    """
    Calls a function again, after longer and longer waits, where it fails for want of a network or because the Hub is
    out of order. Other errors, and the last one, it lets through.

    Args:
        function (`Callable`):
            What asks the Hub.

    Returns:
        What the function returns.
    """
    for wait in WAITS:
        try:
            return function()
        except (HTTPError, OSError, RuntimeError) as error:
            if not _may_pass(error):
                raise
            logger.warning("The Hub did not answer as it should (%s); trying again in %d s.", _first_line(error), wait)
            time.sleep(wait)
    return function()


class HubPublisher:
    """
    What a training script has for the Hub. It does nothing unless it is asked to push, and on the main process.

    Making it checks that the repository can be written to: do so before the training.

    Args:
        arguments ([`HubArguments`]):
            What is pushed, where and when.
        output_dir (`str` or `Path`):
            Folder of the run.
        is_main_process (`bool`):
            Whether this process is the one that pushes.

    Raises:
        HubError: If the repository cannot be written to.
    """

    def __init__(self, arguments: HubArguments, output_dir: str | Path, is_main_process: bool) -> None:
        self.arguments = arguments
        self.output_dir = Path(output_dir)
        self.name: str | None = None
        self._push: Future | None = None
        if arguments.push_to_hub and is_main_process:
            name = arguments.hub_model_id or self.output_dir.resolve().name
            self.name = prepare_repository(name, arguments.hub_private_repo)
            self._executor = ThreadPoolExecutor(1)

    def pushing(self, save: Callable[..., None]) -> Callable[..., None]:
        """
        What [`~hf_attention.training.loop.train.train`] is given to save the best model with. With
        `hub_strategy="every_save"` what it saved is also pushed, in the background.

        While one push is under way no other begins; [`~HubPublisher.finish`] pushes the last state in any case. A push
        that fails is told of, and the training goes on.

        Args:
            save (`Callable`):
                Takes a model and a folder.

        Returns:
            `Callable`: The same, and pushing.
        """
        if self.name is None or self.arguments.hub_strategy != "every_save":
            return save

        def save_and_push(model: PreTrainedModel, folder: Path) -> None:
            save(model, folder)
            if self._push is not None and not self._push.done():
                logger.warning("A better model is not pushed yet: the push before it is still under way.")
                return
            self._wait()
            # Saved anew each time, never written into: links keep this state until it is pushed.
            snapshot = self.output_dir / _SNAPSHOT
            shutil.rmtree(snapshot, ignore_errors=True)
            link_folder(folder, snapshot)
            self._push = self._executor.submit(push_folder, snapshot, self.name, "Training in progress")

        return save_and_push

    def check(self, card: ModelCard) -> None:
        """
        Asks the Hub whether it would take a card; it refuses a push whose card it does not take.

        Args:
            card (`ModelCard`):
                The card.

        Raises:
            HubError: If it would not, or cannot be asked.
        """
        if self.name is None:
            return
        try:
            try_again(card.validate)
        except ValueError as error:
            raise HubError(f"The Hub does not take the model card of this run: {error}") from error
        except (HTTPError, OSError) as error:
            raise HubError(_explained(error, self.name)) from error

    def finish(self) -> str | None:
        """
        Pushes the folder of the run, which is complete.

        Returns:
            `str`: The address of the commit; `None` where nothing is pushed.

        Raises:
            HubError: If it could not be pushed. The folder is whole, and the message says how to push it later.
        """
        if self.name is None:
            return None
        self._wait()
        shutil.rmtree(self.output_dir / _SNAPSHOT, ignore_errors=True)
        try:
            url = push_folder(self.output_dir, self.name, "End of training")
        except HubError as error:
            command = shlex.join(["python", "scripts/push_to_hub.py", str(self.output_dir), self.name])
            raise HubError(f"{error}\nThe model is whole in {self.output_dir}. Push it later: {command}") from error
        print(f"Pushed to {url}")
        return url

    def _wait(self) -> None:
        """Waits for the push that is under way."""
        if self._push is not None:
            try:
                self._push.result()
            except HubError as error:
                logger.warning("A push in the background failed, the training goes on: %s", error)
            self._push = None


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 409, 412, 429)
    return not isinstance(error, (OfflineModeIsEnabled, LocalTokenNotFoundError, *_OF_THIS_MACHINE))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _explained(error: Exception, name: str) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, HFValidationError):
        return f"{name!r} is no name of a repository: {error}"
    unknown_user = status == 401 and not isinstance(error, RepositoryNotFoundError)
    if unknown_user or isinstance(error, LocalTokenNotFoundError):
        return "The Hub needs a valid token with the right to write: run `hf auth login`, or set HF_TOKEN."
    if isinstance(error, OfflineModeIsEnabled):
        return f"Nothing can be pushed to {name!r} while HF_HUB_OFFLINE is set."
    if status in REFUSALS:
        return f"{name!r} cannot be pushed: {REFUSALS[status]} ({status}: {_first_line(error)})."
    if isinstance(error, _OF_THIS_MACHINE) and status is None:
        return f"{name!r} cannot be pushed: a file cannot be read here ({_first_line(error)})."
    if status is not None and status < 500:
        return f"{name!r} on the Hub cannot be written to with this token ({status}): {_first_line(error)}"
    return f"{name!r} cannot be pushed: the Hub cannot be reached or is out of order ({_first_line(error)})."
