"""Instructions that the executor performs itself between two of a robot: http.request, job.run, mail.send.

Called by: phase.py through `Server.perform`, once per (run, seq). The journal around it is the same as for a robot's
instruction; what is different is that nobody remembers here: an act that was begun and has no answer in the journal is
in doubt for whoever finds it. Survives a crash: nothing; commands are ended when this process dies (launcher.py).

What comes of a failure. `error` means that it took no effect, so a script may catch it and go on; an act that may have
taken effect is `in_doubt` and ends the task, whether the script marked it with commit or not:

| when | read | act |
| --- | --- | --- |
| arguments are wrong; a secret, command or evidence is missing | error BAD_ARGUMENT, NOT_FOUND | the same |
| address, command or mail not allowed here | error NOT_ALLOWED | the same |
| http: no such name, no connection, TLS fails | error NOT_FOUND, FAILED | the same: nothing was sent |
| http: time is up before the request was begun to be sent | error TIMEOUT | the same |
| http: time is up, connection broken, nonsense after that | error TIMEOUT, FAILED | in_doubt |
| http: an answer with any status | done | done |
| http: the answer is larger than the limit | error FAILED | done, value_too_large |
| http: a redirect was followed, and then anything fails | error | in_doubt: the first server had answered |
| job: can't be started (file, folder, user) | - | error FAILED |
| job: no free place in time | - | error TIMEOUT |
| job: ended by itself, with whatever exit code | - | done |
| job: ended by us: time, memory, CPU, processes | - | in_doubt: what it did until then stays done |
| job: its launcher died | - | in_doubt |
| mail: no connection, no TLS, log-in or a recipient refused, time is up before DATA | - | error FAILED, TIMEOUT |
| mail: the server refuses DATA, or the message after it (4xx, 5xx) | - | error FAILED |
| mail: no answer after DATA was begun (broken, time is up) | - | in_doubt |
| a value larger than the journal takes | done, value_too_large | done, value_too_large |
| a fault of this program | error FAILED | in_doubt |
| cancelled (abort, task timeout) | cancelled | cancelled: unanswered in the journal |

Change also: shared/contracts/instructions/{http,job,mail}.pyi, docs/adr/0014.
"""

from services.executor.server.order import Order
from services.executor.server.perform import Server

__all__ = ["Order", "Server"]
