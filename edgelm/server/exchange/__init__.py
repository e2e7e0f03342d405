"""A request and the answer to it, whatever API it came by: what OpenAI's, Anthropic's and Ollama's have in common.

    body.py       a body that is read and checked, and the settings that it changes
    chat.py       messages, tools and a form → the prompt and settings of a reply
    calls.py      function calls that a request insists on
    begin.py      the model, the places, the replies: begun, so that what is wrong has been said
    merged.py     the events of several replies as they come
    parts.py      events of a reply → what is said, thought and called, and its end
    logprobs.py   tokens with their probabilities

How an API names fields and writes answers is its own room's: nothing here knows one.
"""
