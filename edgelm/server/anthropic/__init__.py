"""Anthropic's Messages API, as https://platform.claude.com/docs/en/api/messages has it and as Claude Code speaks it.

message_request.py   a request for a message, and one to count its tokens
tools.py             tools and the choice between them
thinking.py          whether the model thinks, whether that is shown, and thinking that comes back
blocks.py            content blocks → text, thinking, calls and results
turns.py             messages of blocks → messages of a chat template
message.py           the message of an answer: events of a stream, or whole
wire.py              ids, usage and errors in Anthropic's form
listing.py           models in Anthropic's form
routes.py            the endpoints
"""
