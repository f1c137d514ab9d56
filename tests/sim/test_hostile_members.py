"""A member of the cluster that sends what it wants: whatever it is, the loops of the others go on.

It holds the secret, so it could run code anyway. But a mistake in another program, or a node gone mad, must not break
the cluster for those that work.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from bndl.driver.jobs import Job
from bndl.net import messages
from bndl.net.credits import Credit
from bndl.net.fabric import FabricEvent, Joined, Received
from bndl.net.greetings import Hello
from bndl.net.messages import Message, decode, encode
from bndl.testing.workload import Item, work
from bndl.testing.world import World

ODD = (0, 1, 2, 3, 5, 1 << 32, (1 << 32) + 1, (2 << 32) + 2, (1 << 62))
NAMES = ("driver", "worker-1", "worker-2", "odd", "", "*", "no such node", "a" * 300)


class Member:
    """A node that greets as it should, and then sends all kinds of messages.

    Args:
        world: where it is.
        name: its name.
        node_type: what it says that it is.
        seed: of what it sends.
    """

    def __init__(self, world: World, name: str, node_type: str, seed: int) -> None:
        self.info = world.node_info(name, node_type, 2)
        self.random = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
        self.fabric = world.network.fabric(name)
        #: Numbers of tasks and stages, and attempts and calls, that it has heard of, beside some odd ones.
        self.known = list(ODD)
        self.tried = [(number, 1) for number in ODD]
        self.calls = list(range(4))
        self.seen: list[str] = []
        self.fabric.start(self.hear)

    def hear(self, event: FabricEvent) -> None:
        if isinstance(event, Joined):
            self.seen.append(event.name)
            self.send(event.name, Hello(self.info, 1, asks=True))
        elif isinstance(event, Received):
            message = decode(event.frame)
            if isinstance(message, Hello):
                self.send(event.sender, Hello(self.info, 1, asks=False))
            else:
                self.learn(message)

    def learn(self, message: Message) -> None:
        if isinstance(message, messages.Launch):
            self.tried += [(attempt.task, attempt.number) for attempt in message.attempts]
            self.known += [attempt.task for attempt in message.attempts]
        elif isinstance(message, messages.Fetch | messages.Adopt | messages.Call):
            self.calls.append(message.call)
        if isinstance(message, messages.Fetch):
            self.known += message.numbers

    def send(self, to: str, message: Message) -> None:
        self.fabric.send(to, encode(message))

    def number(self) -> int:
        return self.random.choice(self.known)

    def numbers(self) -> list[int]:
        return [self.number() for _ in range(self.random.randrange(4))]

    def attempts(self) -> list[tuple[int, int]]:
        return [self.random.choice(self.tried) for _ in range(self.random.randrange(4))]

    def data(self) -> bytes:
        return self.random.choice([b"", b"\x80\x05N.", b"\xc1", self.random.randbytes(20)])

    def result(self) -> messages.Result:
        chance = self.random
        return messages.Result(
            *chance.choice(self.tried),
            chance.randrange(4),
            chance.choice([0.0, 1.0, 1e9]),
            self.data(),
            chance.random() < 0.5,
            self.number(),
            self.number(),
            [(self.number(), chance.choice(NAMES)) for _ in range(chance.randrange(3))],
            b"",
            self.data(),
        )

    def attempt(self) -> messages.Attempt:
        chance = self.random
        sources = [(chance.choice(NAMES), self.numbers()) for _ in range(chance.randrange(3))]
        return messages.Attempt(*chance.choice(self.tried), self.data(), sources, chance.choice([0.0, 1.0]))

    def part(self) -> messages.Part:
        return messages.Part(self.number(), self.random.choice([-1, 0, 1, 10, 1 << 60]), self.data())

    def for_driver(self) -> Message:
        chance = self.random
        call = chance.choice(self.calls)
        makers: list[Callable[[], Message]] = [
            lambda: messages.Finished([self.result() for _ in range(chance.randrange(4))]),
            lambda: messages.Returned(self.attempts()),
            lambda: messages.Answer(call, chance.random() < 0.5, self.data()),
            lambda: messages.Fetched(call, [self.part() for _ in range(chance.randrange(3))]),
            lambda: messages.Adopted(call, self.numbers()),
            lambda: messages.Leaving(chance.random() < 0.5),
            self.fetch,
            messages.Dismiss,
            lambda: messages.Lost(chance.choice(NAMES)),
            lambda: Credit(self.number(), chance.random() < 0.5),
            lambda: messages.Launch(self.number(), [self.attempt()]),
        ]
        return chance.choice(makers)()

    def fetch(self) -> Message:
        space = self.random.randrange(6)
        return messages.Fetch(7, self.random.choice(NAMES), space, self.numbers(), self.number(), self.number())

    def for_worker(self) -> Message:
        chance = self.random
        call = chance.choice(self.calls)
        makers: list[Callable[[], Message]] = [
            lambda: messages.Define(self.number(), "job", "stage", self.data(), chance.random() < 0.5, True),  # noqa: FBT003
            lambda: messages.Launch(self.number(), [self.attempt() for _ in range(chance.randrange(4))]),
            lambda: messages.TakeBack(self.attempts()),
            lambda: messages.Abandon(self.attempts()),
            lambda: messages.Release(self.numbers()),
            lambda: messages.Forget(self.numbers()),
            lambda: messages.Adopt(call, chance.choice(NAMES), self.numbers()),
            lambda: messages.Watch(self.data()),
            lambda: messages.Lost(chance.choice(NAMES)),
            lambda: messages.Call(call, self.data()),
            lambda: messages.Fetched(call, [self.part() for _ in range(chance.randrange(3))]),
            lambda: messages.Answer(call, True, self.data()),  # noqa: FBT003
            messages.Dismiss,
            lambda: messages.Finished([self.result()]),
            self.fetch,
        ]
        return chance.choice(makers)()

    def storm(self, world: World, targets: Sequence[str], count: int) -> None:
        for _ in range(count):
            for target in targets:
                self.send(target, self.for_driver() if target == world.DRIVER else self.for_worker())
            world.sleep(0.001)


def numbers_job(count: int) -> Job:
    job = Job()
    first = job.stage(work, [Item(index, size=30_000) for index in range(count)], name="first")
    job.stage(work, [Item(0, inputs=first.results)], name="last")
    return job


def check_that_work_is_right(world: World) -> None:
    run = world.run(numbers_job(6))
    assert run.error is None
    assert [task.result[0] for task in run.settled if task.name.startswith("last")] == [15]


@pytest.mark.parametrize("seed", range(12))
def test_another_driver_sends_what_it_wants_while_work_goes_on(seed: int) -> None:
    world = World(seed, workers=2)
    world.wait_connected()
    run = world.submit(numbers_job(6))
    member = Member(world, "odd", "driver", seed)
    world.wait(lambda: len(member.seen) == 3)
    world.sleep(0.1)
    member.storm(world, [world.DRIVER, *world.workers], 60)
    world.finish(run)
    assert run.error is None
    assert [task.result[0] for task in run.settled if task.name.startswith("last")] == [15]
    member.fabric.close()
    world.sleep(1.0)
    check_that_work_is_right(world)


@pytest.mark.parametrize("seed", range(12))
def test_a_worker_sends_what_it_wants_while_work_goes_on(seed: int) -> None:
    """It may fail the job, which it could do anyway; but the job ends, and the next one is right without it."""
    world = World(seed, workers=2, checked=False)
    world.wait_connected()
    member = Member(world, "odd", "worker", seed)
    world.wait(lambda: "odd" in world.driver.peers.names)
    run = world.submit(numbers_job(6))
    member.storm(world, [world.DRIVER, *world.workers], 60)
    member.fabric.close()
    world.finish(run)
    world.sleep(1.0)
    check_that_work_is_right(world)


@pytest.mark.parametrize("name", ["x", "worker", "a.b.c", "localhost.worker.1.2.x", "*.worker.1.0.0"])
def test_a_member_whose_name_is_no_node_name_breaks_nothing(name: str) -> None:
    world = World(1, workers=1)
    world.wait_connected()
    Member(world, name, "driver", 1)
    world.wait(lambda: name in world.driver.peers.names)
    check_that_work_is_right(world)
