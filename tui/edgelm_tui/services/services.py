"""All services in one object, which the app makes and hands to every screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from textual.dom import DOMNode

from edgelm import paths
from edgelm.conversation.asking import Asker
from edgelm.machine.memory import Memory
from edgelm.store.chats import Chats
from edgelm_tui.engine.answer_desk import AnswerDesk, AnswerUnderWay
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.jobs.manager import JobManager
from edgelm_tui.jobs.process import ChildProcess
from edgelm_tui.services.chat_view import ChatView
from edgelm_tui.services.kept_settings import KeptSettings
from edgelm_tui.services.models import ModelSwitch
from edgelm_tui.services.navigation import Navigation
from edgelm_tui.services.notices import Notices, Show
from edgelm_tui.services.screen_entry import ScreenEntry
from edgelm_tui.services.signals import Signals
from edgelm_tui.services.state import AppState
from edgelm_tui.services.waiting_prompts import WaitingPrompts

_LOCK_S = 0.25
"""How long the interface waits for another process's write; then it says so and tries again."""


class Services:
    """What screens stand on.

    Args:
        owner: the app, which signals are of.
        screens: all screens, in the order of their tabs.
        navigation: goes to them.
        show: shows a notice in the corner.
        later: calls a function with arguments once what is under way is done.
        memory: what to show instead of this machine's.

    Attributes:
        tuning: the training run that was begun in this app, while it is under way.
    """

    def __init__(
        self,
        owner: DOMNode,
        screens: Sequence[ScreenEntry],
        navigation: Navigation,
        show: Show,
        later: Callable[..., Any],
        *,
        engine: EngineClient | None = None,
        jobs: JobManager | None = None,
        database: Path | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.screens, self.navigation, self._later = screens, navigation, later
        self.notices = Notices(show)
        self.settings = KeptSettings(self.notices)
        self.state = AppState(memory=memory)
        self.signals = Signals(owner)
        self.engine = engine or EngineClient()
        self.jobs = jobs or JobManager()
        self.chats = Chats(database or paths.database(), timeout_s=_LOCK_S)
        self.desk = AnswerDesk(self.engine, self.chats, self.notices.complain)
        self.asker = Asker(self.chats, lambda: self.settings.chat, lambda: self.state.model)
        self.waiting = WaitingPrompts(self.asker, self.desk, self._show_answer)
        self.models = ModelSwitch(
            self.engine,
            self.state,
            self.notices,
            stop_answer=self.waiting.stop_answer,
            hold=self.waiting.hold,
            chat_adapter=lambda: self.chat.adapter if self.chat is not None else "",
            changed=self.changed,
        )
        self.tuning: ChildProcess | None = None
        self._chat: ChatView | None = None

    @property
    def chat(self) -> ChatView | None:
        """The chat, if it was opened yet and is not being closed."""
        return self._chat if self._chat is not None and self._chat.is_whole else None

    def register_chat(self, chat: ChatView) -> None:
        """Note the view that shows the open chat."""
        self._chat = chat

    def changed(self) -> None:
        """Tell the screens that the state is another."""
        self.signals.state.publish(self.state)

    def show_jobs(self, training: str | None = None) -> None:
        """Show in the status line what runs.

        Args:
            training: the training run that was begun here, "" for none any more; None is what was said before.
        """
        self.state.training = self.state.training if training is None else training
        shown = " · ".join(part for part in (self.state.training, self.jobs.status()) if part)
        if shown != self.state.job:
            self.state.job = shown
            self.changed()

    def close(self, timeout_s: float | None = None) -> bool:
        """Let everything go, but a training run, which goes on; again is a no-op.

        With `timeout_s`, nothing is waited for longer: jobs tidy up after this process, and False means that the engine
        is still busy.
        """
        if timeout_s is None:
            self.jobs.close()
        else:
            self.jobs.interrupt()
        ended = self.engine.close(timeout_s)
        self.chats.close()
        return ended

    def _show_answer(self, answer: AnswerUnderWay) -> None:
        if (chat := self.chat) is not None:
            self._later(chat.answer_changed, answer)
