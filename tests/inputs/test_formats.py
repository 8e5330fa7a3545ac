"""Each format gives the same prompts, and each row that cannot be one says where and why."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Image

from cai.errors import InputError
from cai.inputs import PromptFile
from cai.records import Message

TEXTS = ["How do I bake bread?", "Ratio: 3:1, is that fine?", "Ça va, 你好 🙂?"]


def texts(file: PromptFile) -> list[str]:
    return [prompt.messages[-1].content for prompt in file]


def jsonl(path: Path, *rows: object) -> PromptFile:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PromptFile(str(path))


def write_jsonl(path: Path) -> None:
    jsonl(path, *({"prompt": text} for text in TEXTS))


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS).encode(), mtime=0))


def write_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["id", "Goal"], *([n, text] for n, text in enumerate(TEXTS))])


def write_text(path: Path) -> None:
    path.write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2, 3], "prompt": TEXTS}), path)


def write_saved(path: Path) -> None:
    DatasetDict({"train": Dataset.from_dict({"question": TEXTS})}).save_to_disk(str(path))


def write_folder(path: Path) -> None:
    path.mkdir()
    (path / "README.md").write_text("# not a prompt")
    (path / ".hidden.jsonl").write_text("not a row")
    write_jsonl(path / "part-0.jsonl")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("p.jsonl", write_jsonl),
        ("p.jsonl.gz", write_gzip),
        ("p.csv", write_csv),
        ("p.txt", write_text),
        ("p.parquet", write_parquet),
        ("saved", write_saved),
        ("folder", write_folder),
    ],
)
def test_every_format_gives_the_same_prompts(tmp_path, name, write):
    write(tmp_path / name)
    file = PromptFile(str(tmp_path / name))
    assert texts(file) == TEXTS
    assert file.check().prompts == 3
    ids = [prompt.id for prompt in file]
    assert ids == [prompt.id for prompt in jsonl(tmp_path / "same.jsonl", *({"prompt": t} for t in TEXTS))]


def test_sources_name_the_file_and_row_but_not_the_users_folders(tmp_path):
    write_csv(tmp_path / "p.csv")
    assert [prompt.source for prompt in PromptFile(str(tmp_path / "p.csv"))] == ["p.csv:2", "p.csv:3", "p.csv:4"]


def test_a_csv_cell_with_line_breaks_is_one_prompt_and_later_rows_keep_their_line_numbers(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('prompt\n"first\nsecond, third"\nlast\n')
    assert [(p.messages[0].content, p.source) for p in PromptFile(str(path))] == [
        ("first\nsecond, third", "p.csv:2"),
        ("last", "p.csv:4"),
    ]


def test_messages_keep_every_turn_and_lose_only_a_last_reply(tmp_path):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi: there"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
    ]
    ended = [*turns, {"role": "assistant", "content": "Because."}]
    file = jsonl(tmp_path / "p.jsonl", {"messages": turns}, {"messages": ended})
    tally = file.check()
    assert (tally.prompts, tally.duplicates, tally.replies_dropped) == (1, 1, 1)
    (prompt,) = file
    assert prompt.messages == tuple(Message(**turn) for turn in turns)


def test_sharegpt_turns_and_a_csv_cell_of_json_are_read_as_messages(tmp_path):
    talk = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}]
    (prompt,) = jsonl(tmp_path / "p.jsonl", {"conversations": talk})
    path = tmp_path / "p.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["messages"], [json.dumps(talk)]])
    assert next(iter(PromptFile(str(path)))).id == prompt.id
    assert [m.role for m in prompt.messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("column", "cell", "first"),
    [
        ("prompt", '[{"role": "user", "content": "a"}]', "a"),
        ("messages", ' [ {"role": "user", "content": "a"} ]', "a"),
        ("turns", '["a", "b"]', "a"),
        ("prompt", "[1, 2, 3]: what comes next?", "[1, 2, 3]: what comes next?"),
        ("prompt", '["a", "b"]', '["a", "b"]'),
        ("prompt", '[{"x": 1}]', '[{"x": 1}]'),
    ],
)
def test_lists_written_as_json_in_a_cell_are_lists_and_other_brackets_are_text(tmp_path, column, cell, first):
    with (tmp_path / "p.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([[column], [cell]])
    assert texts(PromptFile(str(tmp_path / "p.csv"))) == [first]


def test_a_cell_that_should_be_a_list_and_is_none_says_so(tmp_path):
    (tmp_path / "p.csv").write_text("messages\n\"[{'role': 'user'}]\"\n")
    with pytest.raises(InputError, match=r"p\.csv:2: messages: not a JSON list of messages"):
        PromptFile(str(tmp_path / "p.csv")).check()


def test_instruction_is_followed_by_its_input(tmp_path):
    file = jsonl(tmp_path / "p.jsonl", {"instruction": "Sum up.", "input": "A long text."}, {"instruction": "Go."})
    assert texts(file) == ["Sum up.\n\nA long text.", "Go."]


def test_turns_give_their_first_and_count_the_rest(tmp_path):
    file = jsonl(tmp_path / "p.jsonl", {"turns": ["First?", "Second?", "Third?"], "category": "writing"})
    assert file.check().turns_left_out == 2
    (prompt,) = file
    assert prompt.messages == (Message(role="user", content="First?"),)
    assert prompt.category == "writing"


def test_duplicates_are_collapsed_and_counted_and_the_limit_counts_unique_prompts(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("a\nb\na\nc\n")
    tally = PromptFile(str(path)).check()
    assert (tally.rows, tally.prompts, tally.duplicates) == (4, 3, 1)
    assert texts(PromptFile(str(path), limit=2)) == ["a", "b"]
    assert "1 duplicates collapsed" in tally.lines()


def test_the_fingerprint_follows_the_content_and_not_the_limit(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("a\nb\n")
    before = PromptFile(str(path)).fingerprint()
    assert PromptFile(str(path), limit=1).fingerprint() == before
    path.write_text("a\nc\n")
    assert PromptFile(str(path)).fingerprint() != before


def test_a_named_column_wins_over_known_ones(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("prompt,ask\nx,y\n")
    assert texts(PromptFile(str(path), column="ask")) == ["y"]


def test_a_named_parquet_column_is_read(tmp_path):
    pq.write_table(pa.table({"ask": ["y"], "prompt": ["x"]}), tmp_path / "p.parquet")
    assert texts(PromptFile(str(tmp_path / "p.parquet"), column="ask")) == ["y"]


ROWS = [
    ("{not json", "2:2: not JSON"),
    ('"text"', "2: a row is an object, not a string"),
    ('{"other": 1}', "2: no column known to hold prompts among: other; name it with --column"),
    ('{"prompt": ""}', "2: prompt: the prompt is empty"),
    ('{"prompt": 7}', "2: prompt: a prompt is a string or a list of messages, not int"),
    ('{"prompt": null}', "2: prompt: a prompt is a string or a list of messages, not null"),
    ('{"prompt": []}', "2: prompt: no user turn to answer"),
    ('{"messages": [{"role": "tool", "content": "x"}]}', "2: messages[0].role: unknown role 'tool'"),
    ('{"messages": [{"role": "user", "content": ["x"]}]}', "2: messages[0].content: a message's content is a string"),
    ('{"messages": ["x", {"role": "user"}]}', "2: messages[0]: a message is an object"),
    ('{"messages": [{"role": "assistant", "content": "x"}]}', "2: messages: no user turn to answer"),
    (
        '{"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]}',
        "2: messages: no user turn to answer",
    ),
    ('{"prompt": "\\ud800 lone"}', "2: prompt: half a surrogate pair at character 1"),
    ("[" * 100_000, "2: JSON nobody should read"),
]


@pytest.mark.parametrize(("line", "said"), ROWS)
def test_a_bad_row_says_where_and_is_skipped_on_request(tmp_path, line, said):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "fine"}\n' + line + '\n{"prompt": "also fine"}\n')
    file = PromptFile(str(path))
    with pytest.raises(InputError) as caught:
        file.check()
    assert str(caught.value).startswith(f"{path}:{said}")
    assert "--skip-bad-rows" in str(caught.value)
    tally = file.check(skip_bad_rows=True)
    assert (tally.prompts, tally.bad) == (2, 1)
    assert texts(file) == ["fine", "also fine"]


def test_many_bad_rows_are_shown_up_to_twenty_and_counted_in_full_when_skipped(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "fine"}\n' + "{\n" * 50)
    with pytest.raises(InputError) as caught:
        PromptFile(str(path)).check()
    assert len(str(caught.value).splitlines()) == 21
    assert PromptFile(str(path)).check(skip_bad_rows=True).bad == 50


def test_csv_rows_of_the_wrong_width_are_named_by_their_line(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('prompt,category\na,b\na,b,c\n"x"y,b\nlast,b\n')
    with pytest.raises(InputError) as caught:
        PromptFile(str(path)).check()
    first, second, _ = str(caught.value).splitlines()
    assert first.startswith(f"{path}:3: 3 cells under 2 columns")
    assert second.startswith(f"{path}:4: not a CSV row")
    assert texts(PromptFile(str(path))) == ["a", "last"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("p.txt", b"", "the file holds no prompts"),
        ("p.jsonl", b"\n \n", "the file holds no prompts"),
        ("p.csv", b"prompt\n", "the file holds no prompts"),
        ("p.csv", b"a,b,a\n1,2,3\n", "column `a` appears twice"),
        ("p.csv", b"a,b\n1,2\n", "no column known to hold prompts among: a, b"),
        ("p.csv", b"a, a \n1,2\n", "column `a` appears twice"),
        ("p.csv", b"prompt;category\nx;y\n", "stand between semicolons, not between commas"),
        ("p.tsv", b"prompt,category\nx,y\n", "stand between commas, not between tabs"),
        ("p.json", b'[{"prompt": "x"}]', "one JSON array; write one row a line"),
        ("p.docx", b"x", "cannot tell the format"),
        ("p.parquet", b"PAR1 not", "unreadable Parquet"),
        ("p.txt", "x".encode("utf-16"), "the file is UTF-16"),
        ("p.jsonl.gz", b"not gzip", "broken gzip"),
        ("p.jsonl.gz", gzip.compress(b'{"prompt": "x"}\n' * 99, mtime=0)[:-12], "broken gzip"),
    ],
)
def test_a_file_that_cannot_be_used_says_so_even_when_bad_rows_are_skipped(tmp_path, name, data, said):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=said):
        PromptFile(str(path)).check(skip_bad_rows=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.jsonl", "no such file"),
        ("nowhere", "no such file"),
        ("owner/data.csv", "no such file"),
        ("owner/unknown-dataset", "cannot load the dataset"),
        ("", "no such file"),
        ("x" * 5_000, "cannot be read: File name too long"),
        ("/dev/null", "neither a file nor a folder; prompts are read twice"),
    ],
)
def test_a_name_that_leads_nowhere_says_so(name, said):
    with pytest.raises(InputError, match=said):
        PromptFile(name).check()


def test_several_splits_need_a_choice(tmp_path):
    rows = Dataset.from_dict({"prompt": ["a"]})
    DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(InputError, match="choose one with --split: train, test"):
        PromptFile(str(tmp_path / "d")).check()
    with pytest.raises(InputError, match="no split `dev`"):
        PromptFile(str(tmp_path / "d"), split="dev").check()
    assert [p.source for p in PromptFile(str(tmp_path / "d"), split="test")] == ["d[test][0]"]


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "x"}\n')
    assert texts(PromptFile(str(path))) == ["x"]


def test_bytes_that_are_not_utf8_name_line_and_byte(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(InputError, match=r"p\.txt:2:3: not UTF-8 at byte 3 of the line"):
        PromptFile(str(path)).check()
    assert texts(PromptFile(str(path))) == ["fine"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that nobody can read from its start")
def test_a_file_that_the_system_refuses_to_read_says_so(tmp_path):
    (tmp_path / "p.jsonl").symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match="cannot be read: Input/output error; check the path and its rights"):
        PromptFile(str(tmp_path / "p.jsonl")).check(skip_bad_rows=True)


def test_spaces_around_a_header_are_not_part_of_its_names(tmp_path):
    (tmp_path / "p.csv").write_text(' Prompt , Category\n"How, do I?",x\n')
    (prompt,) = PromptFile(str(tmp_path / "p.csv"))
    assert (prompt.messages[0].content, prompt.category) == ("How, do I?", "x")


def test_two_parquet_columns_of_one_name_are_refused(tmp_path):
    columns = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    pq.write_table(pa.table(columns, names=["prompt", "x", "prompt"]), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="prompt: column `prompt` appears twice"):
        PromptFile(str(tmp_path / "p.parquet")).check()
    pq.write_table(pa.table(columns, names=["x", "prompt", "x"]), tmp_path / "p.parquet")
    assert texts(PromptFile(str(tmp_path / "p.parquet"))) == ["b"]


def test_a_file_has_no_splits(tmp_path):
    (tmp_path / "p.txt").write_text("x\n")
    for name in (tmp_path, tmp_path / "p.txt"):
        with pytest.raises(InputError, match="a file has no splits; leave --split out"):
            PromptFile(str(name), split="train").check()


def test_columns_of_a_dataset_that_are_not_asked_for_are_not_decoded(tmp_path):
    """A picture that nobody could open lies beside the prompt."""
    rows = Dataset.from_dict({"prompt": ["a"], "picture": [{"bytes": b"no picture", "path": None}]})
    rows.cast_column("picture", Image()).save_to_disk(str(tmp_path / "d"))
    assert texts(PromptFile(str(tmp_path / "d"))) == ["a"]


def test_a_transcript_with_the_line_ends_of_windows_keeps_its_turns(tmp_path):
    talk = "\n\nHuman: a: b\n\nAssistant: c\n\nHuman: d"
    unix, windows = (
        jsonl(tmp_path / "u.jsonl", {"chosen": talk}),
        jsonl(tmp_path / "w.jsonl", {"chosen": talk.replace("\n", "\r\n")}),
    )
    assert [prompt.messages for prompt in windows] == [prompt.messages for prompt in unix]
    assert [message.content for message in next(iter(windows)).messages] == ["a: b", "c", "d"]
