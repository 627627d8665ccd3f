"""What passed, failed and was skipped, from whichever runner, and the last line."""

import xml.etree.ElementTree


class Counts:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skips = {}  # reason -> names of tests

    def skip(self, reason, test):
        self.skips.setdefault(reason, []).append(test)

    def fail(self, text):
        self.failed += 1
        print(f"FAILED: {text}", flush=True)

    def add_junit(self, path):
        """Adds what pytest wrote with --junitxml. Its failures were shown by pytest."""
        try:
            root = xml.etree.ElementTree.parse(path).getroot()
        except xml.etree.ElementTree.ParseError as error:
            self.fail(f"{path}: {error}")
            return
        # A test whose teardown fails as well stands there twice: it fails once.
        states = {}
        for case in root.iter("testcase"):
            key = (case.get("classname"), case.get("name"))
            if case.find("failure") is not None or case.find("error") is not None:
                states[key] = "failed"
            elif case.find("skipped") is not None:
                if states.get(key) != "failed":
                    states[key] = "skipped"
                    self.skip(case.find("skipped").get("message") or "no reason given", case.get("name"))
            else:
                states.setdefault(key, "passed")
        self.passed += sum(state == "passed" for state in states.values())
        self.failed += sum(state == "failed" for state in states.values())

    def close(self):
        """Prints the skips and the closing line; returns the exit status."""
        for reason, tests in sorted(self.skips.items()):
            shown = ", ".join(tests[:4]) + (f" and {len(tests) - 4} more" if len(tests) > 4 else "")
            print(f"SKIP {shown}: {reason}")
        if self.passed + self.failed == 0:
            print("FAILED: no test ran")
        skipped = sum(len(tests) for tests in self.skips.values())
        print(f"{self.passed} passed, {self.failed} failed, {skipped} skipped", flush=True)
        return 1 if self.failed or self.passed == 0 else 0
