"""OpenAI's API, as https://platform.openai.com/docs/api-reference has it: chat completions, completions, responses, models.

    fields.py               fields that requests for text have in common, and what they become
    chat_request.py         a request for an answer in a chat
    completion_request.py   a request to continue a text
    choices.py              the choices of an answer: whole, or a piece at a time
    responses/              responses: items, events, what is kept
    wire.py                 ids, usage, log-probabilities and errors in OpenAI's form
    routes.py               the endpoints

What a field means that edgelm cannot do is refused by name. Fields that nobody here knows are passed over, as OpenAI adds some
every month; values that nobody knows are not.
"""
