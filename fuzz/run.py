"""Fuzzes a reader by its coverage, or all in turn: `make fuzz TARGET=file SECONDS=60`.

With BLIND=1 no coverage is measured: the inputs of `fuzz/corpus`, which runs by coverage have collected, are changed and read
two to six times as fast. A million inputs of each reader: `make fuzz TARGET=all SECONDS=60`, and then
`make fuzz TARGET=all RUNS=1000000 SECONDS=0 BLIND=1`.

The readers are those of `twitor_fsm.testing.hostile`. What breaks a reader is written to the folder `fuzz/finds` and belongs
into `tests/property/test_hostile_bytes.py` as a pinned input. What reached something new is kept in `fuzz/corpus`: the next
run begins with it, and `fuzz/reach.py` shows what it does not reach. libFuzzer ends the process when its memory grows
beyond the limit, or an input takes too long.
"""

import gc
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from zlib import crc32

import atheris
from mutating import mutate

LIBRARIES = ["zipfile", "tomllib", "email._parseaddr"]
"""Python's own readers behind ours: without their coverage nothing leads through them."""

IS_BLIND = bool(os.environ.get("BLIND"))
measured = atheris.instrument_imports(include=["twitor_fsm", *LIBRARIES])

with nullcontext() if IS_BLIND else measured:
    from twitor_fsm.testing.hostile import QUICK, READERS

from seeds import seeds  # noqa: E402 - it imports zipfile, which has to be measured

HERE = Path(__file__).parent
ALL = "all"
MEMORY_MIB = 1024
LONGEST = 2048
CLOSELY_EVERY = 8
"""Of so many inputs one is read twice, to compare; by its content, so that a find is found again."""
TIMEOUT_S = 60
_COVERED = re.compile(r"cov: (\d+)")
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")


def main() -> None:
    """Fuzz what the first argument names; the others are libFuzzer's."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    names = list(READERS) if name == ALL else name.split(",")
    if not set(names) <= set(READERS):
        sys.exit(
            f"no reader {name!r}; TARGET= takes {ALL}, or of these, by commas: {', '.join(READERS)}"
        )
    if len(names) > 1:
        sys.exit(fuzz_each(names, sys.argv[2:]))
    finds, corpus = HERE / "finds", HERE / "corpus" / name
    finds.mkdir(exist_ok=True)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [
        f"-dict={HERE / 'names.dict'}",
        f"-artifact_prefix={finds}/{name}-",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-max_len={LONGEST}",
        f"-timeout={TIMEOUT_S}",
        "-mutate_depth=3",
        "-print_final_stats=1",
    ]
    if IS_BLIND:  # all that the corpus holds is changed again and again, and nothing is added
        options += ["-keep_seed=1", "-reduce_inputs=0"]
    arguments = [sys.argv[0], *options, *sys.argv[2:], str(corpus)]
    closely, quick = READERS[name], QUICK[name]

    def read(content: bytes) -> None:
        (quick if crc32(content) % CLOSELY_EVERY else closely)(content)

    # libFuzzer refuses to go on without any coverage at all
    atheris.Setup(arguments, atheris.instrument_func(read), custom_mutator=mutate)
    gc.collect()
    gc.freeze()  # what is imported stays, and need not be looked through again and again
    atheris.Fuzz()


def fuzz_each(names: list[str], options: list[str]) -> int:
    """These readers in turn, each in a process of its own; prints a line for each, and gives 1 if one broke."""
    print(
        "| reader | inputs | seconds | inputs/s | edges | finds |\n| --- | --- | --- | --- | --- | --- |"
    )
    broken = 0
    for name in names:
        command = [sys.executable, __file__, name, *options]
        ran = subprocess.run(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, check=False
        )
        done, covered = _DONE.search(ran.stderr), _COVERED.findall(ran.stderr)
        inputs, seconds = (int(done[1]), int(done[2])) if done else (0, 0)
        found = sum("slow-unit" not in path.name for path in (HERE / "finds").glob(f"{name}-*"))
        edges = covered[-1] if covered else "-"
        print(
            f"| `{name}` | {inputs:,} | {seconds:,} | {inputs // max(seconds, 1):,} | {edges} | {found} |",
            flush=True,
        )
        if ran.returncode:
            broken = 1
            print(ran.stderr[-3000:], file=sys.stderr, flush=True)
    return broken


if __name__ == "__main__":
    main()
