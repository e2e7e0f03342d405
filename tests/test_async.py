"""Async Python: the same answers, other work between tokens, and a cancelled task stops the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from checkpoints import write_checkpoint

import edgelm
from edgelm.runtime.job import Job, _End, _Event


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[edgelm.Model]:
    directory = tmp_path_factory.mktemp("async") / "model"
    write_checkpoint(directory, "llama", max_position_embeddings=100_000)
    with edgelm.load(directory) as loaded:
        yield loaded


ENDLESS = {"max_tokens": None, "logit_bias": {1: -100.0}}


def test_the_same_answers(model: edgelm.Model) -> None:
    async def work() -> tuple[edgelm.Completion, str, list[object]]:
        done = await model.agenerate("the water", max_tokens=12)
        text = "".join([piece async for piece in model.astream("the water", max_tokens=12)])
        return done, text, [event async for event in model.aevents("the water", max_tokens=2)]

    done, text, events = asyncio.run(work())
    expected = model.generate("the water", max_tokens=12)
    assert (done.text, done.tokens, text) == (expected.text, expected.tokens, expected.text)
    assert isinstance(events[-1], edgelm.Finished)


def test_many_tasks_wait_for_their_turn_without_holding_the_loop(model: edgelm.Model) -> None:
    async def work() -> list[edgelm.Completion]:
        return list(await asyncio.gather(*(model.agenerate("the", max_tokens=n) for n in range(1, 9))))

    assert [len(done.tokens) for done in asyncio.run(work())] == list(range(1, 9))


def test_cancelling_the_task_stops_the_engine(model: edgelm.Model) -> None:
    async def work() -> None:
        task = asyncio.create_task(model.agenerate("the water", **ENDLESS))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with aclosing(model.astream("the water", **ENDLESS)) as pieces:  # type: ignore[arg-type]
            async for _ in pieces:
                break
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.agenerate("the water", **ENDLESS), 0.05)  # type: ignore[arg-type]

    asyncio.run(work())
    assert len(model.generate("the", max_tokens=2).tokens) == 2  # the engine is free


@pytest.mark.parametrize("turns", range(8))
def test_a_cancel_that_comes_together_with_a_token_is_not_lost(turns: int) -> None:
    """In whichever turn of the loop, between the thread's wake and the task's: Python 3.11's `wait_for` loses some."""
    job: Job[int] = Job(lambda *_: (), threading.current_thread())

    async def read() -> None:
        async with aclosing(job.aevents()) as events:
            async for _ in events:
                pass

    async def work() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        job._put(_Event(1))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        is_over = bool(done)
        job._put(_End(None))
        await asyncio.wait([task])
        assert is_over
        assert task.cancelled()

    asyncio.run(work())


def test_errors_come_out(model: edgelm.Model) -> None:
    with pytest.raises(edgelm.OptionError, match="did you mean max_tokens"):
        asyncio.run(model.agenerate("x", maxtokens=3))  # type: ignore[call-arg]
    with pytest.raises(edgelm.PromptError, match="the prompt is empty"):
        asyncio.run(model.agenerate([]))


def test_a_chat(model: edgelm.Model) -> None:
    async def work() -> edgelm.Chat:
        chat = model.chat(max_tokens=6)
        await chat.asend("the water")
        pieces = [piece async for piece in chat.astream("on the mountain")]
        assert "".join(pieces) == chat.messages[-1]["content"]
        return chat

    chat, other = asyncio.run(work()), model.chat(max_tokens=6)
    other.send("the water")
    other.send("on the mountain")
    assert chat.messages == other.messages


@pytest.mark.slow
def test_a_cancelled_turn_keeps_what_came(model: edgelm.Model) -> None:
    chat = model.chat(max_tokens=None, logit_bias={1: -100.0})

    async def work() -> None:
        came = asyncio.Event()

        async def read() -> None:
            async for _ in chat.astream("the water"):
                came.set()

        task = asyncio.create_task(read())
        await came.wait()
        with pytest.raises(edgelm.EngineError, match="still under way"):
            await chat.asend("x")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert [message["role"] for message in chat.messages] == ["user", "assistant"]
    assert chat.messages[-1]["partial"] is True
    assert chat.send("again", max_tokens=1).reason == "length"
