"""Profiling of a whole cluster, CPU and memory, from the driver.

::

    ctx.cpu_profiling, ctx.memory_profiling          cpu, memory: what users hold
            |  orders                  figures ^
    cluster: all nodes at once, with a timeout |     cluster
            |                                  |
    agent on each node <---- watches ---- attempts   agent, tracing, sampling, pyspy, heap
            |                                  |
    what was seen of an attempt travels in its Result: ledger, by job, stage, task and worker

    ledger -> profile -> text, exports, page         profile, text, exports, tree, page
"""
