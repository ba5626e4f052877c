"""What the test runs did: `python .ci/summary.py FOLDER BACKEND…`, from the reports and logs in the folder.

Prints the executed tests of each run and of each backend, and closes with `N passed, N failed` on its own line. The
exit code is 1 if a test failed or was skipped, or if none ran, in all or of a backend.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

# What the plugin ferroq.testing.contract.report prints for each backend at the end of a pytest run.
BACKEND = re.compile(r"^(\w+): \d+ of (\d+) tests passed \(floor ", re.MULTILINE)
CARGO = re.compile(r"^test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored", re.MULTILINE)


def main(folder: Path, backends: list[str]) -> int:
    passed = failed = skipped = 0
    for report in sorted(folder.glob("*.xml")):  # of pytest
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - our own file
        bad = sum(any(case.find(tag) is not None for tag in ("failure", "error")) for case in cases)
        missed = sum(case.find("skipped") is not None for case in cases)
        passed, failed, skipped = passed + len(cases) - bad - missed, failed + bad, skipped + missed
        print(f"{report.stem}: {len(cases)} tests, {bad} failed, {missed} skipped")

    executed: Counter[str] = Counter()
    for log in sorted(folder.glob("*.log")):
        text = log.read_text(errors="replace")
        for backend, count in BACKEND.findall(text):
            executed[backend] += int(count)
        if totals := CARGO.findall(text):
            good, bad, missed = (sum(map(int, column)) for column in zip(*totals, strict=True))
            passed, failed, skipped = passed + good, failed + bad, skipped + missed
            print(f"{log.stem}: {good + bad + missed} tests, {bad} failed, {missed} skipped")

    for backend in backends:
        print(f"backend {backend}: {executed[backend]} tests executed")
    missing = [backend for backend in backends if not executed[backend]]
    if missing:
        print(f"no test ran for {', '.join(missing)}")
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0 or skipped > 0 or passed == 0 or bool(missing))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
