"""The decoder that keeps matches, compiled for the baseline instruction set."""

from accel_core.inflate cimport Inflater, inflate_tokens
from accel_core.status cimport Status


cdef Status run(Inflater *s) noexcept nogil:
    return inflate_tokens(s)


ADDRESS = <size_t><void *>&run
