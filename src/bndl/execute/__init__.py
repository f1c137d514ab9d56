"""The worker side: what runs tasks and keeps results.

::

    Launch -> Worker -> inputs fetched (transfer) -> slots -> Worker.execute -> outbox -> Finished
                                                                  |
                                                               store (kept results)

The driver uses ``payloads``, ``refs``, ``store`` and ``transfer`` too: it is a node that has things to be fetched.
"""
