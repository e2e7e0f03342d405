"""What the app does with what it hears: from the engine, from jobs, and from the clock."""

from __future__ import annotations

import gc

from textual import work

from edgelm.machine.memory import Memory, measure_memory
from edgelm_tui.base_app import AppBase
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
from edgelm_tui.jobs.manager import Job

_TICK_S = 1 / 30
_MEMORY_S = 5.0


class HearingApp(AppBase):
    """Drains the engine thirty times a second and tells the screens what has changed."""

    _was_busy = False

    def on_mount(self) -> None:
        """The first frame is drawn before the engine begins."""
        self.theme = self._theme_for(self.settings.app.theme)
        self.switch_mode("chat")
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        if self._problem:
            self.notify(self._problem, title="Settings", severity="warning", timeout=15)
        self.client.start()
        with self.reporting(quietly=True):
            self.chats.purge()
        self.set_interval(_TICK_S, self._tick)
        if self._measures_memory:
            self._measure()
            self.set_interval(_MEMORY_S, self._measure)
        self.check_keys()
        self._warm()

    @work(thread=True, group="warm")
    def _warm(self) -> None:
        """What the first answer needs is imported before it comes."""
        from edgelm_tui.markdown.render import render_fence, render_text

        render_text("*a*\n\n| b |\n|---|\n| c |", 80)
        render_fence("```python\na\n```", 1, 80)

    async def _tick(self) -> None:
        touched: dict[int, AnswerUnderWay] = {}
        for event in self.client.drain():
            answer = await self._take(event)
            self.engine_heard.publish(event)
            if answer is not None:
                touched[answer.message_id] = answer
        chat = self.chat_screen()
        for answer in touched.values():
            if chat is not None:
                await chat.open_chat.answer_changed(answer)
        self.desk.tick()
        if (busy := self.desk.busy or bool(self.state.loading)) != self._was_busy:
            self._was_busy = busy
            self.screen.refresh_bindings()
        if chat is not None:
            await chat.tick()
        if changed := self.jobs.tick():
            self._jobs_changed(changed)

    async def _take(self, event: ClientEvent) -> AnswerUnderWay | None:
        match event:
            case AnswerEvent() | AnswerEnded():
                return self._heard(event)
            case Failed(message, hint, job):
                if job is not None:
                    return self._heard(event)
                self.state.loading = None
                self.state.problem = message
                self.hold()
                self.report(message, hint)
                await self._note(f"error: {message}" + (f"\nhint: {hint}" if hint else ""), error=True)
            case Library(names):
                self._listed(names)
            case Loading(name):
                if not self.state.loading:  # it was given up meanwhile
                    return None
                self.state.loading, self.state.model, self.state.problem = name, None, None
            case Loaded():
                await self._loaded(event)
            case FitKnown():
                self.fit_known.publish(event)
        self.changed()
        return None

    def _heard(self, event: AnswerEvent | AnswerEnded | Failed) -> AnswerUnderWay | None:
        answer = self.desk.take(event)
        if answer is None or self.desk.busy:
            return answer
        if answer.state not in ("complete", "length"):
            self.hold()
        else:
            with self.reporting():
                self.send_next(answer.session_id)
                if (chat := self.chat_screen()) is not None:
                    self.call_next(chat.open_chat.reload)
        return answer

    def _listed(self, names: tuple[str, ...]) -> None:
        first = not self.state.is_listed
        self.state.names, self.state.is_listed = names, True
        if self.state.model is not None or self.state.loading or not names:
            return
        from edgelm.library.recent import last_model

        last = last_model() if first else None
        if last in names:
            self.load_model(str(last))
        elif len(names) == 1:
            self.load_model(names[0])
        elif first:
            self.action_models()

    async def _loaded(self, event: Loaded) -> None:
        from edgelm.library.recent import remember_model

        self.state.model, self.state.loading = event, None
        self._before, self._used = None, event.name
        if event.is_back:
            return
        self.state.problem = None
        remember_model(event.name)
        with self.reporting():
            if not self.desk.busy:
                self.send_next()
            chat = self.chat_screen()
            if chat is not None:
                await chat.open_chat.reload()

    async def _note(self, text: str, *, error: bool = False) -> None:
        chat = self.chat_screen()
        if chat is not None:
            await chat.open_chat.transcript.notice(text, error=error)

    def _jobs_changed(self, changed: list[Job]) -> None:
        self.show_job(self._training)
        for job in changed:
            if job.state == "done":
                self.notify(f"{job.title}: done")
                self.client.look()
            elif job.state == "failed":
                self.report(f"{job.title}: {job.message}")
        self.jobs_changed.publish(changed)
        self.changed()

    @work(thread=True, group="memory", exclusive=True)
    def _measure(self) -> None:
        memory = measure_memory()
        self.call_from_thread(self._measured, memory)

    def _measured(self, memory: Memory) -> None:
        self.state.memory = memory
        self.changed()
