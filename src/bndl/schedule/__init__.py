"""What runs where, and when: decided by a function of (state, event, now), and nothing else.

::

    event (AttemptsFinished, WorkerLost, ...) --> Scheduler.handle(event, now) --> [instruction (Launch, Settle, ...)]

There is no clock, thread, socket, log or randomness in here; an import contract sees to that. The same events give the
same instructions, always.

==============  ================================================================
transitions     the states of a task and what moves it from one to another
events          what happened, in the past participle
instructions    what is to be done, in the imperative
state           what the scheduler knows of tasks, stages, jobs and workers
placement       how many tasks a worker is given
recovery        which results have to be made again
story           the last transitions, for error texts and inspection
invariants      what is true of the state after every event
==============  ================================================================
"""

from bndl.schedule.scheduler import Scheduler

__all__ = ["Scheduler"]
