"""Ask the verification coordinators, the built-in one first, about exactly one plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.gates.evidence import CoordinatorAnswer
from opsqueue.model.names import TargetState
from opsqueue.model.plan import Plan
from opsqueue.model.record import Operation, Target
from opsqueue.pipeline.world import Coordinator, World

PASSED = "PASSED"


class BuiltIn:
    """Looks at the plan itself: complete, within the operation's time, nothing empty, nobody twice."""

    name = "built-in"

    def ask(self, kind: str, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """`overall_status` PASSED or FAILED, with `problems` in words."""
        del kind
        problems = [f"{host}: {why}" for host, steps in context["plans"].items() for why in _problems(steps, context)]
        if not context["plans"]:
            problems.append("there is no target")
        return {"overall_status": "FAILED" if problems else PASSED, "problems": problems}


def _problems(steps: list[dict[str, Any]], context: Mapping[str, Any]) -> list[str]:
    found = [f"step {step['title']!r} has no program" for step in steps if not step["argv"] or not step["argv"][0]]
    longest = max((step["timeout"] for step in steps), default=0)
    if longest > context["timeout"]:
        found.append(
            f"a step may take {longest} s, the operation only {context['timeout']} s: "
            "ask for a longer timeout, or for shorter ones in the parameters"
        )
    return found


def ask_all(
    world: World, operation: Operation, digest: str, targets: tuple[Target, ...]
) -> tuple[CoordinatorAnswer, ...]:
    """What each coordinator says of this digest; one that cannot be reached is an answer too, and blocks."""
    context = _context(operation, digest, targets)
    return tuple(_ask(coordinator, operation, context) for coordinator in (BuiltIn(), *world.coordinators))


def _ask(coordinator: Coordinator, operation: Operation, context: Mapping[str, Any]) -> CoordinatorAnswer:
    try:
        answer = coordinator.ask(operation.type, context)
        status = str(answer["overall_status"])
        why = "; ".join(str(problem) for problem in answer.get("problems") or ()) or str(answer.get("reason") or "")
    except OSError as error:
        return CoordinatorAnswer(coordinator=coordinator.name, status="", why=str(error), reached=False)
    except Exception as error:  # noqa: BLE001  # somebody else's code: whatever it did, it did not say PASSED
        why = f"its answer cannot be used: {type(error).__name__}: {error}"
        return CoordinatorAnswer(coordinator=coordinator.name, status="", why=why, reached=False)
    return CoordinatorAnswer(coordinator=coordinator.name, status=status, why=why, digest=context["digest"])


def _context(operation: Operation, digest: str, targets: tuple[Target, ...]) -> dict[str, Any]:
    return {
        "operation_id": operation.id,
        "name": operation.name,
        "type": operation.type,
        "priority": operation.priority.value,
        "requested_by": operation.requested_by,
        "reason": operation.reason,
        "timeout": operation.timeout,
        "digest": digest,
        "systems": [target.host for target in targets],
        "plans": {t.host: _steps(t.plan) for t in targets if t.state is not TargetState.UNREACHABLE},
    }


def _steps(plan: Plan) -> list[dict[str, Any]]:
    return [
        {"title": step.title, "argv": list(step.command.argv), "timeout": step.command.timeout} for step in plan.steps
    ]
