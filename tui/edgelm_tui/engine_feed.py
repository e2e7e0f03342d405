"""What comes of what the engine and the jobs tell: state, answers, notices, the next prompt. Called at every tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgelm_tui.engine.answer_desk import AnswerUnderWay
from edgelm_tui.engine.events import (
    AnswerEnded,
    AnswerEvent,
    ClientEvent,
    Failed,
    FitKnown,
    Library,
    Loaded,
    Loading,
)
from edgelm_tui.jobs.manager import BackgroundJob
from edgelm_tui.services.services import Services


class EngineFeed:
    """Drains the engine and the jobs, and tells the screens what has changed.

    Args:
        later: calls a function with arguments once what is under way is done.
        busy_changed: called when something that can be stopped has begun or ended.
    """

    def __init__(
        self, services: Services, later: Callable[..., Any], busy_changed: Callable[[], None]
    ) -> None:
        self._services, self._later, self._busy_changed = services, later, busy_changed
        self._was_busy = False

    async def tick(self) -> None:
        """Take in what was told since the last call."""
        services = self._services
        touched: dict[int, AnswerUnderWay] = {}
        for event in services.engine.drain():
            answer = await self._take(event)
            services.signals.engine.publish(event)
            if answer is not None:
                touched[answer.message_id] = answer
        chat = services.chat
        for answer in touched.values():
            if chat is not None:
                await chat.answer_changed(answer)
        services.desk.tick()
        if (busy := services.desk.busy or bool(services.state.loading)) != self._was_busy:
            self._was_busy = busy
            self._busy_changed()
        if chat is not None:
            await chat.tick()
        if changed := services.jobs.tick():
            self._take_jobs(changed)

    async def _take(self, event: ClientEvent) -> AnswerUnderWay | None:
        services = self._services
        match event:
            case AnswerEvent() | AnswerEnded():
                return self._take_answer(event)
            case Failed(_, _, job):
                if job is not None:
                    return self._take_answer(event)
                await self._take_failure(event)
            case Library(names):
                self._take_names(names)
            case Loading(name):
                if not services.models.began(name):
                    return None
            case Loaded():
                await self._take_model(event)
            case FitKnown():
                services.signals.fits.publish(event)
        services.changed()
        return None

    def _take_answer(self, event: AnswerEvent | AnswerEnded | Failed) -> AnswerUnderWay | None:
        services = self._services
        answer = services.desk.take(event)
        if answer is None or services.desk.busy:
            return answer
        if answer.state not in ("complete", "length"):
            services.waiting.hold()
        else:
            with services.notices.reporting():
                services.waiting.send_next(answer.session_id)
                if (chat := services.chat) is not None:
                    self._later(chat.reload)
        return answer

    async def _take_failure(self, event: Failed) -> None:
        services = self._services
        services.state.loading, services.state.problem = None, event.message
        services.waiting.hold()
        services.notices.report(event.message, event.hint)
        if (chat := services.chat) is not None:
            hint = f"\nhint: {event.hint}" if event.hint else ""
            await chat.show_notice(f"error: {event.message}{hint}", error=True)

    def _take_names(self, names: tuple[str, ...]) -> None:
        """Note what is installed; at the start, load what was used last, else the only one, else ask."""
        state = self._services.state
        first = not state.is_listed
        state.names, state.is_listed = names, True
        if state.model is not None or state.loading or not names:
            return
        from edgelm.library.recent import last_model

        last = last_model() if first else None
        if last in names:
            self._services.models.load(str(last))
        elif len(names) == 1:
            self._services.models.load(names[0])
        elif first:
            self._services.navigation.choose_model()

    async def _take_model(self, event: Loaded) -> None:
        services = self._services
        services.models.came(event)
        if event.is_back:
            return
        with services.notices.reporting():
            if not services.desk.busy:
                services.waiting.send_next()
            if (chat := services.chat) is not None:
                await chat.reload()

    def _take_jobs(self, changed: list[BackgroundJob]) -> None:
        services = self._services
        services.show_jobs()
        for job in changed:
            if job.state == "done":
                services.notices.say(f"{job.title}: done")
                services.engine.look()
            elif job.state == "failed":
                services.notices.report(f"{job.title}: {job.message}")
        services.signals.jobs.publish(changed)
        services.changed()
