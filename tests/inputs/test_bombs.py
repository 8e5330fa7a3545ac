"""Files made to exhaust memory are refused or stepped over within a small memory."""

import gzip
import os
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cai.errors import InputError
from cai.inputs import PromptFile
from cai.inputs.lines import LINE_LIMIT


def test_a_line_past_the_limit_is_a_bad_row_and_the_next_one_is_read(tmp_path):
    path = tmp_path / "p.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"prompt": "' + b"x" * (LINE_LIMIT * 3) + b'"}\n{"prompt": "next"}\n')
    with pytest.raises(InputError, match=r"p\.jsonl:1: line longer than 1,048,576 bytes"):
        PromptFile(str(path)).check()
    (prompt,) = PromptFile(str(path))
    assert (prompt.messages[0].content, prompt.source) == ("next", "p.jsonl:2")


def test_a_line_of_exactly_the_limit_is_read(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes(b"x" * (LINE_LIMIT - 1) + b"\n")
    assert PromptFile(str(path)).check().prompts == 1


@pytest.mark.parametrize("line", [b" " * 2000 + b"\n", b'{"prompt": "' + b"x" * 2000 + b'"}\n', b"\0" * 4096])
def test_a_gzip_bomb_is_refused_by_its_ratio(tmp_path, line):
    path = tmp_path / "p.jsonl.gz"
    with gzip.open(path, "wb") as stream:
        block = line * (1 << 20 >> len(line).bit_length())
        for _ in range((32 << 20) // len(block)):
            stream.write(block)
    with pytest.raises(InputError, match="unfolds to more than 100 times its size"):
        PromptFile(str(path)).check(skip_bad_rows=True)


def test_a_small_repetitive_gzip_is_no_bomb(tmp_path):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "x"}\n' * 20_000))
    assert PromptFile(str(path)).check().duplicates == 19_999


def test_a_parquet_bomb_is_refused_by_its_footer(tmp_path):
    path = tmp_path / "p.parquet"
    table = pa.table({"prompt": ["x" * (32 << 20)]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    with pytest.raises(InputError, match="column `prompt` unfolds to more than 100 times its size"):
        PromptFile(str(path)).check()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_an_endless_line_is_stepped_over_in_little_memory(tmp_path):
    path = tmp_path / "p.jsonl"
    with path.open("wb") as stream:
        stream.truncate(768 << 20)
        stream.seek(0, os.SEEK_END)
        stream.write(b'\n{"prompt": "after"}\n')
    code = f"from cai.inputs import PromptFile; print([p.source for p in PromptFile({str(path)!r})])"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))

    done = subprocess.run([sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['p.jsonl:2']", done.stderr


def test_a_cell_without_end_is_not_read_as_rows(tmp_path):
    """Its quote is never closed, so that the lines after it would look like prompts."""
    path = tmp_path / "p.csv"
    path.write_text('prompt\nfine\n"no end\n' + "not a prompt of its own\n" * 60_000)
    with pytest.raises(InputError, match=r"p\.csv:3: a cell longer than 1,048,576 bytes; where it ends cannot be told"):
        PromptFile(str(path)).check(skip_bad_rows=True)
