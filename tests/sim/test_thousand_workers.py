"""A cluster of a thousand workers, of which some are lost halfway."""

from __future__ import annotations

from bndl.driver.jobs import Job
from bndl.testing.workload import Item, work
from bndl.testing.world import World

WORKERS = 1000
TASKS = 2 * WORKERS
LOST = 7


def test_a_thousand_workers_of_which_some_are_lost_do_a_job_of_two_stages() -> None:
    # The invariants of the scheduler are checked in smaller worlds: each check takes time for each worker.
    world = World(1, workers=WORKERS, concurrency=1, checked=False, together=True)
    world.wait_connected()
    assert len(world.cluster.workers) == WORKERS
    # Two greetings and two answers with each worker; workers do not greet each other until they need to.
    assert len(world.trace) - WORKERS == 4 * WORKERS
    job = Job()
    first = job.stage(work, [Item(number) for number in range(TASKS)], name="first")
    wanted = [(number, (7 * number + 3) % TASKS) for number in range(TASKS)]
    items = [Item(1, inputs=[first.results[one], first.results[other]]) for one, other in wanted]
    job.stage(work, items, name="second")
    run = world.submit(job)
    world.wait(lambda: len(run.settled) > TASKS + TASKS // 4)
    for name in list(world.workers)[:: WORKERS // LOST]:
        world.kill(name)
    assert len(world.workers) < WORKERS - LOST
    world.finish(run)
    assert run.error is None
    results = {task.name: task.result[0] for task in run.settled if task.name.startswith("second")}
    assert results == {f"second[{number}]": 1 + sum(wanted[number]) for number in range(TASKS)}
    assert max(len(task.attempts) for task in run.settled) > 1
    assert world.leftovers() == []
