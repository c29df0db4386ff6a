"""Which CPU features kernels may use: those the CPU and the system support, less those ``ACCEL_CPU`` masks.

``ACCEL_CPU`` is a comma-separated list of the features allowed; ``none`` or ``baseline`` allows none of them. This
module is compiled for the baseline machine: it must run before anybody knows what else would.
"""

import os


cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GNUC__)
      #define ACCEL_X86(feature) __builtin_cpu_supports(feature)
    #else
      #define ACCEL_X86(feature) 0
    #endif
    static int accel_has_ssse3(void) { return ACCEL_X86("ssse3"); }
    static int accel_has_sse41(void) { return ACCEL_X86("sse4.1"); }
    static int accel_has_pclmul(void) { return ACCEL_X86("pclmul"); }
    static int accel_has_bmi2(void) { return ACCEL_X86("bmi2"); }
    static int accel_has_avx2(void) { return ACCEL_X86("avx2"); }
    static int accel_has_avx512f(void) { return ACCEL_X86("avx512f"); }
    static int accel_has_avx512bw(void) { return ACCEL_X86("avx512bw"); }
    static int accel_has_vpclmulqdq(void) { return ACCEL_X86("vpclmulqdq"); }

    #if defined(__x86_64__) && defined(__GNUC__)
      #include <cpuid.h>
      static int accel_has_sha(void) {      /* __builtin_cpu_supports knows it from GCC 15 on */
        unsigned int a, b, c, d;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
      }
    #else
      static int accel_has_sha(void) { return 0; }
    #endif

    #if defined(__aarch64__) && defined(__linux__)
      #include <sys/auxv.h>
      static int accel_has_arm_crc32(void) { return (getauxval(AT_HWCAP) >> 7) & 1; }  /* HWCAP_CRC32 */
    #elif defined(__aarch64__) && defined(__APPLE__)
      static int accel_has_arm_crc32(void) { return 1; }                               /* every Apple ARM64 */
    #else
      static int accel_has_arm_crc32(void) { return 0; }
    #endif
    """
    bint accel_has_ssse3()
    bint accel_has_sse41()
    bint accel_has_pclmul()
    bint accel_has_bmi2()
    bint accel_has_avx2()
    bint accel_has_avx512f()
    bint accel_has_avx512bw()
    bint accel_has_vpclmulqdq()
    bint accel_has_sha()
    bint accel_has_arm_crc32()


def detected():
    """Names of the features the CPU has and the system lets programs use, ``ACCEL_CPU`` aside."""
    found = {
        "ssse3": accel_has_ssse3(),
        "sse4.1": accel_has_sse41(),
        "pclmul": accel_has_pclmul(),
        "bmi2": accel_has_bmi2(),
        "avx2": accel_has_avx2(),
        "avx512f": accel_has_avx512f(),
        "avx512bw": accel_has_avx512bw(),
        "vpclmulqdq": accel_has_vpclmulqdq(),
        "sha": accel_has_sha(),
        "crc32": accel_has_arm_crc32(),
    }
    return frozenset(name for name, present in found.items() if present)


def features():
    """Names of the features kernels may use. A name in ``ACCEL_CPU`` that the CPU lacks has no effect."""
    mask = os.environ.get("ACCEL_CPU")
    if mask is None:
        return detected()
    return detected() & {name.strip().lower() for name in mask.split(",")}
