"""Nodes that talk: fabric, messages, peers and calls.

::

    fabric (zenoh | memory) -> frames -> messages -> peers (hello, welcome) -> calls (request, answer)
"""
