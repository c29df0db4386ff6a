"""Times as text: RFC 3339, written in UTC as Go's ``time.Time.MarshalText`` does, read with any zone."""

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef enum:
    RFC3339_MAX = 30                # 2023-11-14T22:13:20 + . + 9 digits + Z
    SECONDS_A_DAY = 86400

cdef inline int64_t days_of(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Days from 1970-01-01 to a proleptic Gregorian date (years from 0 on)."""
    # Years run from March, so that the leap day is the last day of the year.
    cdef int64_t y = year - 1 if month <= 2 else year
    cdef int64_t m = month + 9 if month <= 2 else month - 3
    # y is -1 at the least: shift by 400 years (146097 days), so that divisions never see a negative.
    y += 400
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 1 - 719468 - 146097


cdef inline void put_digits(uint8_t *out, int64_t value, int n) noexcept nogil:
    cdef int i
    for i in range(n - 1, -1, -1):
        out[i] = <uint8_t>(48 + value % 10)
        value //= 10


cdef inline int rfc3339_format(int64_t seconds, int32_t ns, uint8_t *out) noexcept nogil:
    """Writes at most RFC3339_MAX bytes and returns how many; 0 for years outside 0..9999 (Go then writes nothing)."""
    if seconds < -62167219200LL or seconds > 253402300799LL:
        return 0
    cdef int64_t since_year_0 = seconds + 62167219200LL
    cdef int64_t second = since_year_0 % SECONDS_A_DAY
    # Days since 0000-03-01 (day 60), 400 years ahead so that January and February of year 0 stay positive.
    cdef int64_t d = since_year_0 // SECONDS_A_DAY - 60 + 146097
    cdef int64_t era = d // 146097
    cdef int64_t doe = d % 146097
    cdef int64_t yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    cdef int64_t doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    cdef int64_t mp = (5 * doy + 2) // 153
    cdef int64_t month = mp + 3 if mp < 10 else mp - 9
    cdef int64_t year = (era - 1) * 400 + yoe + (1 if month <= 2 else 0)
    put_digits(out, year, 4)
    out[4] = 45
    put_digits(out + 5, month, 2)
    out[7] = 45
    put_digits(out + 8, doy - (153 * mp + 2) // 5 + 1, 2)
    out[10] = 84
    put_digits(out + 11, second // 3600, 2)
    out[13] = 58
    put_digits(out + 14, second // 60 % 60, 2)
    out[16] = 58
    put_digits(out + 17, second % 60, 2)
    cdef int n = 19
    if ns != 0:
        out[19] = 46
        put_digits(out + 20, ns, 9)
        n = 29
        while out[n - 1] == 48:
            n -= 1
    out[n] = 90
    return n + 1


cdef inline int64_t take_digits(const uint8_t *text, int n) noexcept nogil:
    """The number in ``n`` decimal digits, -1 if one is none."""
    cdef int64_t value = 0
    cdef int i
    for i in range(n):
        if text[i] < 48 or text[i] > 57:
            return -1
        value = value * 10 + (text[i] - 48)
    return value


cdef inline int rfc3339_parse(const uint8_t *text, int64_t n, int64_t *seconds, int32_t *ns) noexcept nogil:
    """0 and the instant, or -1 if the text is no RFC 3339 time. Fraction digits past the ninth are cut off."""
    if n < 20 or text[4] != 45 or text[7] != 45 or text[10] != 84 or text[13] != 58 or text[16] != 58:
        return -1
    cdef int64_t year = take_digits(text, 4)
    cdef int64_t month = take_digits(text + 5, 2)
    cdef int64_t day = take_digits(text + 8, 2)
    cdef int64_t hour = take_digits(text + 11, 2)
    cdef int64_t minute = take_digits(text + 14, 2)
    cdef int64_t second = take_digits(text + 17, 2)
    if year < 0 or not 1 <= month <= 12 or day < 1 or not 0 <= hour <= 23 or not 0 <= minute <= 59:
        return -1
    if not 0 <= second <= 59:
        return -1
    cdef int64_t next_month = days_of(year + 1, 1, 1) if month == 12 else days_of(year, month + 1, 1)
    if day > next_month - days_of(year, month, 1):
        return -1
    cdef int64_t at = 19
    cdef int64_t fraction = 0
    cdef int digits = 0
    if text[at] == 46:
        at += 1
        while at < n and 48 <= text[at] <= 57:
            if digits < 9:
                fraction = fraction * 10 + (text[at] - 48)
                digits += 1
            at += 1
        if digits == 0:
            return -1
        while digits < 9:
            fraction *= 10
            digits += 1
    cdef int64_t zone = 0, hour_off, minute_off
    if at + 1 == n and text[at] == 90:
        pass
    elif at + 6 == n and (text[at] == 43 or text[at] == 45) and text[at + 3] == 58:
        hour_off = take_digits(text + at + 1, 2)
        minute_off = take_digits(text + at + 4, 2)
        if not 0 <= hour_off <= 23 or not 0 <= minute_off <= 59:
            return -1
        zone = (hour_off * 60 + minute_off) * 60
        if text[at] == 45:
            zone = -zone
    else:
        return -1
    seconds[0] = days_of(year, month, day) * SECONDS_A_DAY + hour * 3600 + minute * 60 + second - zone
    ns[0] = <int32_t>fraction
    return 0
