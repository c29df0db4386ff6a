"""The decoder that keeps matches, compiled for BMI2; load it only where the CPU has it."""

from accel_core.inflate cimport Inflater, inflate_tokens
from accel_core.status cimport Status


cdef Status run(Inflater *s) noexcept nogil:
    return inflate_tokens(s)


ADDRESS = <size_t><void *>&run
