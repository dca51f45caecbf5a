"""Plans of settings that are complete but for what a test is about."""

from typing import Any

from stable_diffusion.diffusion.plan import Plan, make_plan
from stable_diffusion.diffusion.schedule import NoiseSchedule
from stable_diffusion.settings import CompleteSettings


def complete(**given: Any) -> CompleteSettings:
    """Settings with the least that a run needs."""
    least: dict[str, Any] = {
        "width": 32, "height": 32, "steps": 20, "cfg": 1.0, "cfg_rescale": 0.0, "sampler": "euler",
        "spacing": "trailing",
    }  # fmt: skip
    return CompleteSettings(**{**least, **given})


def plan_of(
    schedule: NoiseSchedule,
    spacing: str = "trailing",
    steps: int = 20,
    strength: float | None = None,
    strength_mode: str = "level",
    **given: Any,
) -> Plan:
    given |= {"spacing": spacing, "steps": steps, "strength": strength, "strength_mode": strength_mode}
    return make_plan(schedule, complete(**given))
