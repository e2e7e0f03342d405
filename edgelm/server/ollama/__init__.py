"""Ollama's API, for tools that know no other: https://docs.ollama.com/api.

names.py              names of models, with and without a tag
options.py            options of a request → settings of a reply
fields.py             fields that chats and texts have in common
chat_request.py       a request for an answer in a chat
generate_request.py   a request to answer, or to continue, one text
turns.py              messages of Ollama's → messages of a chat template
answer.py             the lines of an answer, or one that holds all of it
describe.py           models in Ollama's form
catalogue.py          endpoints that tell of models
routes.py             all endpoints
"""
