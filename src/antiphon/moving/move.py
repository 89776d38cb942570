"""A move, from the first look to the end: what is done in which order, so that it can be killed anywhere and go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from antiphon.brokers.ports import Broker, Filling, Lag, Partition, TopicSpec
from antiphon.errors import UsageError
from antiphon.moving.arrivals import Arrivals, changes, readers_of, require_whole
from antiphon.moving.carrying import carry, fill
from antiphon.moving.progress import Progress, ProgressFile, Stage, TopicProgress
from antiphon.moving.reading import Log, is_log, require_log
from antiphon.moving.survey import Choice, TopicPlan, chosen_of, require_unchanged, stand_of, survey, watch
from antiphon.moving.target import require_able, require_fitting, require_room
from antiphon.storage.database import Database
from antiphon.storage.moving import Moved, relocate, set_aside_identities


class TopicMoved(Struct, frozen=True):
    """What became of a topic: its partitions, how many messages are to be carried or were, and each group's unread."""

    topic: str
    partitions: int
    messages: int
    groups: Mapping[str, int]


class Moving:
    """One move from a log to another broker. Both are open, and so are the stores of the services, but as `plan` says.

    Nobody may publish to either of them, or read, until it is done; what can be seen of that is refused.
    """

    def __init__(
        self, source: Broker, target: Broker, stores: Sequence[Database], file: ProgressFile, choice: Choice
    ) -> None:
        self._source, self._target, self._stores = require_log(source), target, stores
        self._file, self._choice = file, choice
        self.say: Callable[[str], None] = lambda text: None
        """Called with a line for people whenever something was done."""

    async def plan(self, *, is_new: bool = False) -> Sequence[TopicMoved]:
        """What would be moved; nothing is changed. Raises UsageError where it cannot be, or not now.

        A target that `is_new` has nothing yet, and need not be open, since opening it would make its tables.
        """
        progress = self._progress()
        if progress is not None and progress.stage is Stage.PLACED:
            return ()
        return [_told(plan) for plan in await self._plans(progress, is_new=is_new)]

    async def run(self) -> Sequence[TopicMoved]:
        """Move, or go on with a move that was interrupted; returns when everything is done.

        After a move that is done, what was published to the log since is moved. Raises UsageError where it cannot be,
        or not now, and BrokerError or StoreError for what failed: run it again.
        """
        progress = self._progress()
        if progress is not None and progress.stage is Stage.PLACED:
            await self._finish(progress)
            return ()
        plans = await self._plans(progress)
        if plans:
            await self._move(plans, progress)
        return [_told(plan) for plan in plans]

    def _progress(self) -> Progress | None:
        require_able(self._target, self._choice)
        if self._source.url == self._target.url:
            raise UsageError(f"{self._source.url} cannot be moved to itself: name another broker with --to")
        progress = self._file.load(self._source.url, self._target.url)
        if progress is not None and progress.stage is not Stage.DONE:
            _require_same_topics(self._choice, progress)
        return progress

    async def _plans(self, progress: Progress | None, *, is_new: bool = False) -> Sequence[TopicPlan]:
        stand = await stand_of(self._source, self._choice)
        topics = [state.name for state in await chosen_of(self._source, self._choice)]
        await watch(self._source, topics, self._choice.watch)
        is_begun = progress is not None and progress.stage is Stage.CARRYING
        begun = {name: each.starts for name, each in progress.topics.items()} if progress and is_begun else {}
        plans = await survey(self._source, self._choice, stand, begun)
        if progress is not None and not is_begun and not any(plan.messages for plan in plans):
            return ()  # it was moved already
        if is_new:
            for plan in plans:
                require_room(self._target, plan)
        else:
            await require_fitting(self._source, self._target, plans, is_begun=is_begun)
        return plans

    async def _move(self, plans: Sequence[TopicPlan], progress: Progress | None) -> None:
        if progress is None or progress.stage is Stage.DONE:
            progress = await self._begin(plans)
        for plan in plans:
            await self._carry(plan, progress)
        await require_unchanged(self._source, {plan.name: plan.ends for plan in plans})
        self._note_placed(progress, plans)
        await self._finish(progress)

    async def _begin(self, plans: Sequence[TopicPlan]) -> Progress:
        """Make the topics, and write down where they ended before anything was carried."""
        progress = Progress(self._source.url, self._target.url)
        there = {state.name for state in await self._target.topics()}
        for plan in plans:
            if plan.name not in there:
                await self._target.ensure_topic(self._spec(plan))
            base = await self._target.ends(plan.name) if is_log(self._target) else dict[int, str]()
            progress.topics[plan.name] = TopicProgress(plan.starts, base)
        progress.groups = sorted({group for plan in plans for group in plan.firsts})
        self._file.save(progress)
        return progress

    def _spec(self, plan: TopicPlan) -> TopicSpec:
        state = plan.state
        keeps = is_log(self._target)
        return TopicSpec(
            state.name, state.partitions, state.keep_for if keeps else None, state.keep_bytes if keeps else None
        )

    async def _carry(self, plan: TopicPlan, progress: Progress) -> None:
        if is_log(self._target):
            await self._carry_to_log(self._target, plan, progress.topics[plan.name])
        elif isinstance(self._target, Filling):
            await self._fill_groups(self._target, plan, progress)
        self.say(f"carried {plan.messages} messages of {plan.name}")

    async def _carry_to_log(self, target: Log, plan: TopicPlan, progress: TopicProgress) -> None:
        await carry(self._source, target, plan, progress.base)
        arrivals = await Arrivals.look(target, plan.name, progress.base)
        readers = await readers_of(self._source, plan)
        require_whole(plan.name, arrivals.count(), readers)
        for group in plan.firsts:
            wanted = arrivals.positions(group, readers)
            to = changes(plan.name, wanted, await self._stands(group), arrivals)
            if to:
                await target.seek(group, plan.name, to)
            await self._relocate(Moved(group, plan.name, self._scheme, arrivals.unread(group, readers)))

    async def _stands(self, group: str) -> Sequence[Lag]:
        return await self._target.lag(group) if group in await self._target.groups() else ()

    async def _fill_groups(self, target: Filling, plan: TopicPlan, progress: Progress) -> None:
        """A group that was interrupted is emptied and filled anew."""
        for group in plan.firsts:
            if group in progress.topics[plan.name].groups:
                continue
            aside = [each for store in self._stores for each in await set_aside_identities(store, group, plan.name)]
            await fill(self._source, target, plan, group, aside)
            await self._relocate(Moved(group, plan.name, self._scheme, {}))
            progress.topics[plan.name].groups.append(group)
            self._file.save(progress)

    async def _relocate(self, moved: Moved) -> None:
        for store in self._stores:
            await relocate(store, moved)

    @property
    def _scheme(self) -> str:
        return self._source.url.partition(":")[0]

    def _note_placed(self, progress: Progress, plans: Sequence[TopicPlan]) -> None:
        for plan in plans:
            progress.topics[plan.name].ends = plan.ends
        progress.stage = Stage.PLACED
        self._file.save(progress)

    async def _finish(self, progress: Progress) -> None:
        """Let the groups have read it all on the log, so that who begins there by mistake repeats nothing."""
        for group in progress.groups:
            read = {lag.partition.topic for lag in await self._source.lag(group)}
            for topic in sorted(read & progress.topics.keys()):
                ends = progress.topics[topic].ends
                await self._source.seek(group, topic, {Partition(topic, number): at for number, at in ends.items()})
        progress.stage = Stage.DONE
        self._file.save(progress)


def _require_same_topics(choice: Choice, progress: Progress) -> None:
    if choice.topics and set(choice.topics) != progress.topics.keys():
        raise UsageError(
            f"a move of {', '.join(sorted(progress.topics))} was begun and is not done: finish it with these topics"
        )


def _told(plan: TopicPlan) -> TopicMoved:
    return TopicMoved(plan.name, plan.state.partitions, plan.messages, plan.unread)
