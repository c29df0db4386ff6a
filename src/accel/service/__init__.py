"""The conversion service: a push comes in as an event, its accelerated image goes out.

::

    event ──> incoming ──> inbox ──> dispatch ──> job ──> engine: plan, one workflow a layer, publish ──> outgoing
               parsed,      stored    rules        one a source digest and recipe                         events, signed
               trusted      at once

Each part is a package or module of its own; ``app`` puts them together for ``accel serve`` and ``accel worker``.
What they share is in ``model`` (values), ``settings`` (what an operator chose) and ``database`` (tables).
"""
