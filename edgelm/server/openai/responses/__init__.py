"""OpenAI's responses, as https://platform.openai.com/docs/api-reference/responses has them; Codex speaks nothing else.

    response_request.py   the fields of a request, and the settings that they become
    toolbox.py            tools: what the model is told of them, and whose a call is
    items.py              items of a conversation → messages
    thoughts.py           thinking that a client carries and gives back
    store.py              finished responses, for `previous_response_id`
    prompt.py             a request with what came before it → the prompt
    output.py             parts of an answer → items, and the events of a stream
    response.py           the response itself, under way and at its end
    routes.py             the endpoints

Tools that OpenAI runs itself are refused by name, since nothing here runs them; those that the client runs are answered
with items of calls.
"""
