"""Pulls images onto the engine (protocol 6.4)."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final
from urllib.parse import quote

from docker.auth import resolve_repository_name
from docker.errors import APIError, InvalidRepository
from docker.utils import parse_repository_tag

from prefect.agent.adapters.docker import credentials
from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.adapters.docker.errors import pull_problem, words
from prefect.agent.adapters.docker.pull_progress import PullProgress
from prefect.agent.domain.errors import PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.checks import Image
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.images import image_reference
from prefect.agent.domain.model.policy import OPEN, judge
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.ports import events
from prefect.agent.ports.events import EventSink

SILENCE: Final = 600.0
"""Seconds without progress after which a pull fails; unpacking a large layer reports none."""

DEADLINE: Final = 1800.0
"""Seconds for a whole pull."""

ASKING: Final = 30.0
"""Seconds for a registry to say whether it has an image."""

MOST_FAILED: Final = 100
"""Images that are remembered because they could not be pulled."""

_log = logging.getLogger("prefect.agent.docker")


class Images:
    """Pulls images; at any time there is only one pull of each.

    Args:
        no_pull: Never pull.
        allowed: Patterns as in the policy's rule ``registries``; images of other registries are refused. Empty: all.
    """

    def __init__(self, engine: DockerEngine, *, no_pull: bool = False, allowed: Sequence[str] = ()) -> None:
        self._engine = engine
        self._no_pull = no_pull
        self._allowed = tuple(allowed)
        self._policy = OPEN.replacing("registries", self._allowed) if self._allowed else OPEN
        self._guard = threading.Lock()
        self._pulls: dict[str, Future[None]] = {}
        self._failed: dict[str, None] = {}
        """Images whose last pull failed, the latest last."""
        self.tell: EventSink = events.ignore
        self.secrets: set[str] = set()
        """Passwords of registries that were used."""

    def is_pulled(self, image: str) -> bool:
        """Return whether *image* may be pulled; a name without a registry or user is a local image of the engine."""
        return not self._no_pull and "/" in image

    def check(self, image: str) -> None:
        """Raise SubmissionRefused if the registry of *image*, with the engine's default, is not allowed."""
        reference = image_reference(image)
        if judge(self._policy, Demands(images=frozenset({reference}))) is not None:
            raise SubmissionRefused(
                f"the image {image!r} ({reference}) is not from a registry that this agent may use: "
                f"{', '.join(self._allowed)} (rule registries of the agent's policy)"
            )

    def prepare(self, image: str, run_id: FlowRunId) -> None:
        """Pull *image* for a flow run if it may be pulled; join a pull in progress. Takes half an hour at most.

        A failed pull is not an error if the engine already has the image.

        Raises:
            SubmissionRefused: The image does not exist or is not allowed.
            PlatformUnavailable: The registry or the engine does not work at present.
        """
        self.check(image)
        if not self.is_pulled(image):
            return
        with self._guard:
            pull = self._pulls.get(image)
            joins = pull is not None
            if pull is None:
                pull = self._pulls[image] = Future()
        if joins:
            pull.result()
        else:
            self._lead(image, pull, run_id)

    def look(self, image: str) -> Image:
        """Whether *image* is on the engine, or its registry would give it out; nothing is pulled.

        Raises:
            PlatformUnavailable: The engine does not answer.
        """
        try:
            self.check(image)
            if self._is_here(image):
                return Image(name=image, is_here=True)
            if not self.is_pulled(image):
                return Image(name=image, can_be_had=False, note=str(absent(image, pulled=False)))
            return self._offered(image)
        except SubmissionRefused as refusal:
            return Image(name=image, can_be_had=False, note=str(refusal))

    def _offered(self, image: str) -> Image:
        """What the registry says to the engine, which asks with the login that a pull has."""
        repository, tag = parse_repository_tag(image)
        with self._engine.asked(f"ask a registry for {image}"):
            try:
                login = credentials.login(resolve_repository_name(repository)[0], self._learn)
                headers: dict[str, str | bytes] = {"X-Registry-Auth": login.header} if login.header else {}
                path = f"/distribution/{quote(f'{repository}{_joint(tag)}')}/json"
                with self._engine.stream(
                    "GET", path, params={}, headers=headers, silence=ASKING, deadline=ASKING
                ) as lines:
                    return Image(name=image, can_be_had=any(True for _ in lines))
            except InvalidRepository as problem:
                return Image(name=image, can_be_had=False, note=words(problem))
            except APIError as problem:
                is_refusal = problem.status_code in {400, 401, 403, 404}
                return Image(name=image, can_be_had=False if is_refusal else None, note=words(problem))

    def _lead(self, image: str, pull: Future[None], run_id: FlowRunId) -> None:
        try:
            self._pull(image, run_id)
        except BaseException as problem:
            pull.set_exception(problem)
            raise
        else:
            pull.set_result(None)
        finally:
            with self._guard:
                del self._pulls[image]

    def _pull(self, image: str, run_id: FlowRunId) -> None:
        is_retry = image in self._failed
        progress = PullProgress(image=image, flow_run_id=run_id, tell=self.tell, is_retry=is_retry)
        try:
            with progress.told():
                self._fetch(image, progress)
            with self._guard:
                self._failed.pop(image, None)
        except (SubmissionRefused, PlatformUnavailable) as problem:
            self._note_failure(image)
            if not self._is_here(image):
                raise
            _log.warning("%s; the agent uses the image that the engine already has", problem)

    def _note_failure(self, image: str) -> None:
        with self._guard:
            self._failed[image] = None
            while len(self._failed) > MOST_FAILED:
                del self._failed[next(iter(self._failed))]

    def _fetch(self, image: str, progress: PullProgress) -> None:
        repository, tag = parse_repository_tag(image)
        with self._engine.asked(f"pull {image} within {DEADLINE / 60:g} minutes"):
            try:
                registry, _ = resolve_repository_name(repository)
            except InvalidRepository as problem:
                raise pull_problem(image, words(problem), status=400) from problem
            login = credentials.login(registry, self._learn)
            headers: dict[str, str | bytes] = {"X-Registry-Auth": login.header} if login.header else {}
            params = {"fromImage": repository, "tag": tag or "latest"}
            try:
                with self._engine.stream(
                    "POST", "/images/create", params=params, headers=headers, silence=SILENCE, deadline=DEADLINE
                ) as lines:
                    for line in lines:
                        if "error" in line:
                            raise pull_problem(image, " ".join(str(line["error"]).split()), doubt=login.problem)
                        progress.take(line)
            except APIError as problem:
                if problem.status_code in {401, 403}:  # the engine refuses this itself, not the registry
                    raise
                status = problem.status_code or 500
                raise pull_problem(image, words(problem), status=status, doubt=login.problem) from problem

    def _learn(self, secret: str) -> None:
        self.secrets = {*self.secrets, secret}  # not in place: other threads read it

    def _is_here(self, image: str) -> bool:
        with self._engine.asked(f"look for the image {image}") as client:
            try:
                client.inspect_image(image)
            except APIError as problem:
                if problem.status_code not in {400, 404}:
                    raise
                return False
        return True


def _joint(tag: str | None) -> str:
    """What follows a repository's name: a digest or a tag."""
    return f"@{tag}" if tag and ":" in tag else f":{tag or 'latest'}"


class ImageAbsent(Exception):
    """The engine does not have the image for a container."""


def absent(image: str, *, pulled: bool) -> Exception:
    """Return the error for an image that the engine does not have when it creates a container."""
    if pulled:
        text = f"the image {image!r} was deleted from the engine right after it was pulled"
        return PlatformUnavailable(text, wait_kind=WaitKind.IMAGE)
    return SubmissionRefused(
        f"this agent's Docker engine does not have the image {image!r}, and the agent does not pull it: it never pulls "
        f"names without a '/', or any image with --no-pull. Run 'docker pull {image}' there, or name the registry"
    )
