"""One module per kind of message. Importing this package registers every kind."""

from shared.contracts.messages.command_issued import CommandIssued
from shared.contracts.messages.decision_asked import DecisionAsked
from shared.contracts.messages.run_finished import RunFinished
from shared.contracts.messages.run_opened import RunOpened
from shared.contracts.messages.task_accepted import TaskAccepted
from shared.contracts.messages.task_finished import TaskFinished
from shared.contracts.messages.task_returned import TaskReturned
from shared.contracts.messages.worker_abort import WorkerAbort
from shared.contracts.messages.worker_heartbeat import JournalPosition, WorkerHeartbeat
from shared.contracts.messages.worker_instruction import BlobTarget, WorkerInstruction
from shared.contracts.messages.worker_log import WorkerLog, WorkerLogLine
from shared.contracts.messages.worker_reply import Evidence, ReplyError, ReplyOutcome, SessionState, WorkerReply
from shared.contracts.messages.worker_run_ended import WorkerRunEnded

__all__ = [
    "BlobTarget",
    "CommandIssued",
    "DecisionAsked",
    "Evidence",
    "JournalPosition",
    "ReplyError",
    "ReplyOutcome",
    "RunFinished",
    "RunOpened",
    "SessionState",
    "TaskAccepted",
    "TaskFinished",
    "TaskReturned",
    "WorkerAbort",
    "WorkerHeartbeat",
    "WorkerInstruction",
    "WorkerLog",
    "WorkerLogLine",
    "WorkerReply",
    "WorkerRunEnded",
]
