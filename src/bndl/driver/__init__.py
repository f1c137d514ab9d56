"""The pump: events go into the scheduler, its instructions go out to the fabric. The only place where the two meet.

::

    user -> Job, Stage, Task -> Execution --command--> Driver -> Scheduler.handle -> Launch, ... -> fabric
    user <- mailbox <---------- Execution <--settled-- Driver <- AttemptsFinished, WorkerLost, ... <- fabric
"""
