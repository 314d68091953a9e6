"""The engine in a process of its own: requests reach it as small messages, their pixels through shared memory."""
