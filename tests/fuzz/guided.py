"""Coverage-guided fuzzing with atheris (PyPI), over kernels built so that libFuzzer sees their branches.

    CC=clang LDSHARED='clang -shared' CFLAGS='-fsanitize=fuzzer-no-link,address' \\
        python setup.py -q build --build-base build/guided --build-lib build/guided/lib --force
    LD_PRELOAD="$(python -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so" \\
        ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/guided/lib:tests \\
        python tests/fuzz/guided.py inflate NEW_CORPUS tests/fuzz/corpus/inflate -max_total_time=600

The first argument is the target; what follows goes to libFuzzer: the first folder receives inputs that reach new code,
the others are only read. Keep what is small and new in ``tests/fuzz/corpus``; ``-merge=1`` picks it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))      # for `support` and `fuzz`, as pytest does

import atheris  # noqa: E402

from fuzz.targets import TARGETS  # noqa: E402


def main() -> None:
    run = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, lambda data: run(bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
