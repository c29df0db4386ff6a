"""What a kernel can answer. 0 is FAULT so that nothing zeroed or swallowed passes for OK."""

cdef enum Status:
    FAULT = 0           # an exception is set, or a check tripped
    OK = 1
    NEED_INPUT = 2      # all input used (up to a carry); feed more
    NEED_ROOM = 3       # output buffer (or record table) full; drain it and call again
    END = 4             # the format's end was reached
    CORRUPT = 5         # the bytes break the format; the state says what and where
    TRUNCATED = 6       # the last input ended too early
    NO_MEMORY = 7
    LIMIT = 8           # a limit in the state was reached
