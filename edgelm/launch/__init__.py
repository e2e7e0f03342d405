"""Servers of this machine that run, and coding agents that are pointed at them.

    records.py      the servers that run: who, where, with what; found again by other processes
    asking.py       what a running server says of itself
    background.py   a server of its own process: started, waited for, stopped
    users.py        who uses a server that was started for an agent: the last one ends it
    agents.py       how each agent is told where its models are: an entry an agent
    running.py      an agent in this terminal, until it ends

Nothing here knows a model or MLX: the command line names models, and a server is a process of its own.
"""
