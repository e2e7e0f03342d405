"""How families of models mark thinking, answers and tool calls, and how they write the calls. Data first, then readers."""
