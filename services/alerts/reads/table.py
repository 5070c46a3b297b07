"""Which read serves which kind of rule. Called by: main.py. Change also: RuleKind."""

from __future__ import annotations

from services.alerts.evaluation import Read
from services.alerts.reads.canary import CanaryReads
from services.alerts.reads.fleet import FleetReads
from services.alerts.reads.partners import PartnerReads
from services.alerts.reads.work import WorkReads
from shared.domain.alert_rules import RuleKind
from shared.mongo import Mongo


def database_reads(mongo: Mongo) -> dict[RuleKind, Read]:
    """The reads of all kinds that the database answers."""
    work, fleet, partners = WorkReads(mongo), FleetReads(mongo), PartnerReads(mongo)
    return {
        RuleKind.WORKFLOW_IDLE: work.workflow_idle,
        RuleKind.TASK_WAITING: work.task_waiting,
        RuleKind.TASK_RUNNING: work.task_running,
        RuleKind.DEADLINE_DANGER: work.deadline_danger,
        RuleKind.FAILURE_RATE: work.failure_rate,
        RuleKind.RUN_STUCK: work.run_stuck,
        RuleKind.DECISION_WAITING: work.decision_waiting,
        RuleKind.TASK_IN_DOUBT: work.task_in_doubt,
        RuleKind.WORKFLOW_HELD: work.workflow_held,
        RuleKind.SCENARIO_HELD: work.scenario_held,
        RuleKind.ROBOT_LOST: fleet.robot_lost,
        RuleKind.ROBOT_FROZEN: fleet.robot_frozen,
        RuleKind.ROBOT_QUARANTINED: fleet.robot_quarantined,
        RuleKind.DELIVERY_DEAD: partners.delivery_dead,
        RuleKind.ENDPOINT_DOWN: partners.endpoint_down,
        RuleKind.ENDPOINT_DISABLED: partners.endpoint_disabled,
        RuleKind.POLLER_FAILING: partners.poller_failing,
        RuleKind.CANARY_FAILING: CanaryReads(mongo).canary_failing,
    }
