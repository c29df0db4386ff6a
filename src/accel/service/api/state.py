"""What the API needs of the service around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute

from accel.service.database import Database
from accel.service.health import Health
from accel.service.jobs.control import Jobs
from accel.service.model import Wanted
from accel.service.outgoing import Deliveries
from accel.service.protect import Protector
from accel.service.rules import RuleBook
from accel.service.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class ServiceState:
    """The parts that answer requests.

    ``look_up(image, pusher)`` gives what the rules want of an image as it is now; ``backfill(registry, patterns,
    dry_run)`` what is missing, and submits it unless it is a dry run.
    """

    settings: ServiceSettings
    database: Database
    rulebook: RuleBook
    jobs: Jobs
    protector: Protector
    deliveries: Deliveries
    health: Health
    metrics: Callable[[], bytes]
    hook_routes: Sequence[BaseRoute]
    look_up: Callable[[str, str | None], list[Wanted]]
    backfill: Callable[[str, tuple[str, ...], bool], list[Wanted]]
    now: Callable[[], float]
    is_paused: Callable[[], bool]


Json = dict[str, Any]
