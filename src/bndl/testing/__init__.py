"""A simulated cluster: the driver and the workers of production, in one thread, in virtual time, from one seed.

::

    World -> VirtualTime + MemoryNetwork -> Driver    on a NodeLoop
                                         -> Worker... on a NodeLoop each, with VirtualSlots
    Plan  -> faults at times drawn from a seed -> World

What differs from production: the clock, the network, and that a task's function is called at the end of the time that
the attempt takes, so a worker that is killed before has not called it.
"""
