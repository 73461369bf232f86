"""Reads every table of an experiment with pandas, with the dtypes of its columns.csv, and checks what it gets.

    python crates/gen-report/tests/read_with_pandas.py results/reference

Needs pandas 2 or later. Ends with an error at the first table that is not what columns.csv says.
"""

import sys
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd


def described(columns, path):
    """The rows of the dictionary for a file, given by its path within the experiment."""
    rows = columns[[fnmatch(path, pattern) for pattern in columns.file]]
    # `*` does not stop at a slash in fnmatch, but a run's own table has one and an experiment's has none.
    return rows[rows.file.str.contains("/") == ("/" in path)]


def check(folder, path, columns):
    rows = described(columns, path)
    with open(folder / path, encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split(",")
    types = {}
    for name in header:
        found = rows[[fnmatch(name, pattern) for pattern in rows.name]]
        assert len(found) == 1, f"{path}: {name} is described {len(found)} times"
        types[name] = found.type.iloc[0]
    table = pd.read_csv(folder / path, dtype=types)
    assert list(table.columns) == header, f"{path}: {list(table.columns)}"
    for name, kind in types.items():
        assert str(table[name].dtype) == kind, f"{path}: {name} is {table[name].dtype}, not {kind}"
    if "*" not in "".join(rows.name):
        older = [name for name in rows.name if name not in header]
        # A run that was evaluated by an earlier version may lack what came later.
        assert not older or "/" in path, f"{path} lacks {older}"
    return len(table), len(header)


def main(folder):
    columns = pd.read_csv(folder / "columns.csv", dtype="string")
    files = sorted(set(columns.file))
    paths = [p.relative_to(folder).as_posix() for pattern in files for p in sorted(folder.glob(pattern))]
    assert "runs.csv" in paths, f"{folder} has no runs.csv: `cargo xtask report` writes it"
    for path in sorted(set(paths)):
        rows, width = check(folder, path, columns)
        print(f"{path}: {rows} rows, {width} columns")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
