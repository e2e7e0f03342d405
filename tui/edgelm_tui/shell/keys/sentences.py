"""What each key does, in a sentence, for the help and the palette; the last line has room for a word only."""

from __future__ import annotations

from textual.binding import Binding

LONGEST = 42
"""Characters that help has room for."""
SENTENCES = {
    "app.help": "Show the keys of this screen",
    "app.preferences": "Change the preferences",
    "app.palette": "Find an action by its name",
    "app.interrupt": "Copy what is selected, stop, or quit",
    "app.quit": "Quit",
    "chat.stop": "Stop the answer, or close what is open",
    "chat.new": "Begin a new chat",
    "chat.sessions": "Go to the list of chats",
    "chat.sidebar": "Show or hide the list of chats",
    "chat.models": "Change the model, keep the chat",
    "chat.settings": "Change the settings of this chat",
    "chat.regenerate": "Answer the last question again",
    "chat.editor": "Write the prompt in your editor",
    "chat.search": "Search all chats",
    "chat.up": "Scroll up",
    "chat.down": "Scroll down",
    "chat.up_plain": "Scroll up, while the prompt is empty",
    "chat.down_plain": "Scroll down, while the prompt is empty",
    "chat.messages": "Go to the messages",
    "message.copy": "Copy the message",
    "message.edit": "Edit the prompt and ask again",
    "message.regenerate": "Answer again",
    "message.branch": "Begin a new chat that goes on from here",
    "message.continue": "Go on with a cut answer",
    "message.previous": "Show the alternative before",
    "message.next": "Show the alternative after",
    "message.good": "Rate the answer as good",
    "message.bad": "Rate the answer as bad",
    "message.correct": "Write the better answer yourself",
    "message.delete": "Delete from here on",
    "message.delete_now": "Delete from here on at once",
    "message.toggle": "Open or close thinking and tool calls",
    "message.up": "Go to the message above",
    "message.down": "Go to the message below",
    "sessions.rename": "Rename the chat",
    "sessions.duplicate": "Duplicate the chat",
    "sessions.folder": "Put the chat into a folder",
    "sessions.delete": "Delete the chat",
    "sessions.delete_now": "Delete the chat at once",
    "sessions.undo": "Bring back what was deleted last",
    "sessions.export": "Export the chat to a file",
    "sessions.import": "Import a chat from a file",
    "sessions.search": "Search all chats",
    "library.hub": "Search the Hugging Face Hub",
    "library.convert": "Convert a file, a directory or a Hub id",
    "library.export": "Make something else of this",
    "library.details": "Show or hide the details",
    "library.sort": "Sort by the next column",
    "library.filter": "Filter the list",
    "library.remove": "Delete this model or adapter",
    "library.again": "Look into the library again",
    "library.back": "Close what is open",
    "job.pause": "Pause the job, or let it go on",
    "job.cancel": "Cancel the job",
    "job.retry": "Try the job again",
    "tune.new": "Begin a training run",
    "tune.pause": "Pause the run, or let it go on",
    "tune.checkpoint": "Write a checkpoint now",
    "tune.stop": "Stop the run",
    "tune.resume": "Go on with the run",
    "tune.log": "Change to a logarithmic scale and back",
    "tune.mark": "Compare the curves of this run",
    "tune.versus": "Show the adapter beside its base",
    "tune.remove": "Delete the run",
}
"""Id of a binding → sentence. A binding that is not here has it as its `tooltip`, or says no more than its description."""


def sentence(binding: Binding) -> str:
    """Return what a key does, as a sentence."""
    return SENTENCES.get(binding.id or "") or binding.tooltip or binding.description
