"""Reads the Test Anything Protocol as cmocka writes it (CMOCKA_MESSAGE_OUTPUT=TAP):
a plan "1..N" for each group, then "ok 1 - name", "not ok 2 - name" followed by
"# why" lines, "not ok 3 # SKIP name". What a test printed stands before its line:
for a skip, that is the reason."""

import re

PLAN = re.compile(r"1\.\.(\d+)$")
RESULT = re.compile(r"(not )?ok \d+ (?:- |# (SKIP) )(.*)$")


class TapReport:
    def __init__(self):
        self.passed = 0
        self.failed = []   # (test, text)
        self.skipped = []  # (test, reason)
        self.missing = 0   # planned but never run; at least 1 when there is no plan


def read_tap(text):
    report = TapReport()
    planned = seen = 0
    printed = []  # since the last result
    in_failure = False
    for line in text.splitlines():
        plan = PLAN.match(line)
        result = RESULT.match(line)
        if plan:
            planned += int(plan.group(1))
            in_failure = False
        elif result:
            seen += 1
            failed, skipped, name = result.groups()
            in_failure = bool(failed) and not skipped
            if skipped:
                reason = " ".join(part.removeprefix("# ").strip() for part in printed)
                report.skipped.append((name, reason or "no reason given"))
            elif failed:
                report.failed.append((name, "\n".join(printed)))
            else:
                report.passed += 1
            printed = []
        elif in_failure and line.startswith("#"):
            name, before = report.failed[-1]
            report.failed[-1] = (name, f"{before}\n{line}".strip())
        elif not line.startswith(("# ok", "# not ok")):
            in_failure = False
            printed.append(line)
    report.missing = planned - seen if planned else 1
    return report
