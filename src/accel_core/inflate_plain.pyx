"""The decoder compiled for the baseline instruction set."""

from accel_core.inflate cimport Inflater, inflate_run
from accel_core.status cimport Status


cdef Status run(Inflater *s) noexcept nogil:
    return inflate_run(s)


ADDRESS = <size_t><void *>&run
