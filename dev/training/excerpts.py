"""Excerpts of books, which the package carries: `interp_helpers.book_excerpts`.

256 are of the nine books that storybook was not trained on, and 2400 of the 352 that it was trained on. All are in the
public domain in the United States. storybook's card lists them, and where each came from. An excerpt begins with a
paragraph and is as long as storybook's context. The same corpus gives the same excerpts.

    python dev/training/excerpts.py --corpus books.jsonl.xz
"""

import argparse
from pathlib import Path

import pandas as pd
from data import course_books
from tokenizers import Tokenizer

PACKAGE = Path(__file__).resolve().parents[2] / "interp_helpers" / "data"
MARGIN = 0.03  # share of a book that is left out at either end: prefaces, contents, endnotes, advertisements


def excerpts_per_book(lengths, number, least):
    """How many excerpts each book gets: `least`, and each further one goes to the book with most text for each."""
    counts = [least] * len(lengths)
    for _ in range(number - sum(counts)):
        counts[max(range(len(lengths)), key=lambda i: lengths[i] / counts[i])] += 1
    return counts


def excerpt(text, place, tokenizer, size):
    """The first `size` tokens of the first paragraph after `place` in which they do not end inside a character."""
    while True:
        place = text.index("\n\n", place) + 2
        ids = tokenizer.encode(text[place : place + 20 * size]).ids[:size]
        if tokenizer.encode(piece := tokenizer.decode(ids)).ids == ids:
            return piece


def excerpts(books, tokenizer, number=256, size=128, least=8):
    """A table with the columns book and text: excerpts evenly spaced over each book, more from longer books."""
    rows = []
    for book, count in zip(books, excerpts_per_book([len(book["text"]) for book in books], number, least)):
        first, last = (int(share * len(book["text"])) for share in (MARGIN, 1 - MARGIN))
        places = range(first, last, (last - first) // count)[:count]
        rows += [(book["title"], excerpt(book["text"], place, tokenizer, size)) for place in places]
    return pd.DataFrame(rows, columns=["book", "text"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, help="books, one JSON a line; .jsonl or .jsonl.xz")
    parser.add_argument("--out", default=PACKAGE, type=Path, help="the folder to write to")
    given = parser.parse_args()
    training, held_out = course_books(given.corpus)
    tokenizer = Tokenizer.from_file(str(PACKAGE / "storybook" / "tokenizer.json"))
    excerpts(held_out, tokenizer).to_csv(given.out / "held_out.csv", index=False, lineterminator="\n")
    table = excerpts(training, tokenizer, number=2400, least=1)
    table.to_csv(given.out / "training.csv.xz", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
