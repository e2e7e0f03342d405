"""A server for many askers: models of the library behind the APIs that editors, agents and scripts speak.

    app.py            the ASGI application, of a `ServerSettings`
    settings.py       where it listens, who may ask, how much
    names.py          what requests may name: models, and adapters on them
    residents.py      the models that are loaded, and who uses them
    replies.py        one reply: a prompt rendered, events, and their end when the asker has gone
    metrics.py        what `/metrics` counts
    listing.py        the models that are served
    openapi.py        the document of all endpoints
    http/             what an API is, keys, sizes, errors, server-sent events: nothing of any one API
    exchange/         what requests of every API ask for, and what answers are made of
    openai/           what OpenAI's requests ask for, and its answers
    anthropic/        the same of Anthropic's
    ollama/           the same of Ollama's

    serving.py        what endpoints share
    run.py            `edgelm.serve`: listen until told to stop

It stands on `edgelm.api.Model`, whose scheduler shares steps between replies; nothing here knows MLX. starlette and uvicorn
come with the extra `serve`.
"""
