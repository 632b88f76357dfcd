"""Results that a week of computing can be trusted to: one JSON file for each finished cell.

    store.json        whose folder it is, and the version of its format
    cells/HASH.json   configuration and rows of one finished piece of work
    failed/HASH.json  configuration and error of a cell that failed last time
    claims/HASH.lock  held while a process works on it

Rules, and their reasons:

- A piece of work is a cell and the iteration counts it was asked for. HASH covers all of it and the
  version of the numerics, so that rows of code since corrected are not taken for current.
- Files are never changed, only added, each under a temporary name, flushed and then renamed: a
  reader sees all of it or nothing, whatever is killed, and two writers of the same work write the
  same file. Asking for more iteration counts later adds a file with the new ones.
- Reading is strict JSON of regular files of bounded size, with a check over what was written. It
  never runs anything. What does not pass is named with the reason and set aside, and its cell is
  computed again.
- Two programs on one folder share the work: each claims a cell by a lock that the system takes
  back when the program ends, however it ends.

``python -m smdtheory.store status FOLDER`` says what is done, and what failed and why; ``export
FOLDER`` makes a table. Standard library only, so that both answer at once.

- ``cell``: one file.
- ``folder``: all of them, as the program that computes sees them.
- ``claims``: who works on what.
- ``survey``: all of them, as a visitor sees them.
- ``export``: as one table.
"""
