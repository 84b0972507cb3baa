"""Fuzzes one reader by its coverage: `make fuzz TARGET=file SECONDS=60` (or `RUNS=1000000`).

The readers are those of `twitor_fsm.testing.hostile`, the first inputs files as tools write them. What breaks a reader is
written to the folder `fuzz/finds` and belongs into `tests/property/test_hostile_bytes.py` as a pinned input. libFuzzer
prints how many inputs it ran in how many seconds, and ends the process when its memory grows beyond the limit.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))

with atheris.instrument_imports(include=["twitor_fsm"]):
    from twitor_fsm.testing.hostile import READERS

MEMORY_MIB = 1024


def seeds(name: str) -> Iterator[bytes]:
    """Inputs to begin with."""
    import tool_files as tools

    entries = [tools.entry(0, {"result": tools.tweet(0, long="long " * 60)}), tools.entry(1, {})]
    listing = json.dumps(tools.answer(entries)).encode()
    har = tools.har([tools.har_entry(listing), tools.har_entry(listing, in_base64=True)])
    records = [tools.exporter_record(n, metadata=True) for n in range(2)]
    yield from {
        "csv": [tools.exporter_csv(records).partition(b"\n")[2]],
        "har": [har.partition(b"[")[2]],
        "listing": [json.dumps(entries).encode()[1:-1]],
        "script": [json.dumps([tools.like(0), tools.bookmark(1)]).encode()[1:]],
        "journal": [
            b'{"seq":1,"at":1.5,"trigger":"item_skipped","from":"running","to":"running","spec":"x"}'
        ],
        "plan": [(HERE.parent / "src/twitor_fsm/simulator/presets/hostile.toml").read_bytes()],
        "queue": [b'1 5 3 1714538096000 ["crawl",{"user_id":"7"}]'],
        "page": [
            (
                b'{"data":[{"id":"1","text":"t","author_id":"7","attachments":{"media_keys":["3_1"]}}],'
                b'"includes":{"users":[{"id":"7","username":"a","name":"A"}],"media":[{"media_key":"3_1"}]},'
                b'"errors":[{"resource_type":"tweet","resource_id":"9"}],"meta":{"result_count":1,"next_token":"x"}}'
            )
        ],
    }.get(
        name,
        [
            tools.json_array(records),
            tools.exporter_csv(records),
            tools.json_lines([tools.twillot_record(0)]),
            tools.json_lines([tools.fieldtheory_record(0)]),
            tools.script("bookmarks", [tools.bookmark(0)]),
            listing,
            har,
        ],
    )


def main() -> None:
    """Fuzz the reader named by the first argument; the others are libFuzzer's."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in READERS:
        sys.exit(f"no reader {name!r}; name one with TARGET=: {', '.join(READERS)}")
    finds = HERE / "finds"
    finds.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds(name)):
            (Path(folder) / str(number)).write_bytes(seed)
        options = [f"-dict={HERE / 'names.dict'}", f"-artifact_prefix={finds}/{name}-"]
        limits = [
            f"-rss_limit_mb={MEMORY_MIB}",
            "-max_len=4096",
            "-timeout=20",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, *limits, *sys.argv[2:], folder], READERS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
