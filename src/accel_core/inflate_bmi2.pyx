"""The decoder compiled for BMI2 (shifts and masks by a variable count); load it only where the CPU has it."""

from accel_core.inflate cimport Inflater, inflate_run
from accel_core.status cimport Status


cdef Status run(Inflater *s) noexcept nogil:
    return inflate_run(s)


ADDRESS = <size_t><void *>&run
