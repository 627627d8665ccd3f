"""Summarises a web server's access log (Apache's and nginx's combined format):
  fnrun invoke examples/access-log                       the sample access.log beside this file
  fnrun invoke examples/access-log --event @event.json   a log in the event: "..." or {"log": "..."}
Try it on a log of your own, or on several MB that ./make-log writes."""

import os
import re
from collections import Counter

LINE = re.compile(
    r'(?P<client>\S+) \S+ (?P<user>\S+(?: \S+)*?) \[(?P<day>\d\d/[A-Z][a-z]{2}/\d{4}):(?P<hour>\d\d)'
    r':\d\d:\d\d [+-]\d{4}\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>[1-5]\d\d) (?P<bytes>\d+|-)'
    r'(?: "(?:[^"\\]|\\.)*" "(?P<agent>(?:[^"\\]|\\.)*)")?\s*')
TOP = 5
SHOWN = 3  # lines that could not be read


def top(counter, name):
    """The most frequent, equal ones in the order of their names."""
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return [{name: key, "requests": count} for key, count in ranked[:TOP]]


def path_of(request):
    """'GET /a?b HTTP/1.1' -> '/a'. What is no request at all (a port scan's bytes) -> None."""
    parts = request.split(" ")
    if len(parts) < 2 or not parts[0].isalpha():
        return None
    return parts[1].partition("?")[0]


def summarise(lines):
    classes, paths, clients, hours, errors = Counter(), Counter(), Counter(), Counter(), Counter()
    requests = sent = strange = unparsable = 0
    shown = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.rstrip("\r\n"))
        if not match:
            unparsable += 1
            if len(shown) < SHOWN:
                shown.append({"line": number, "text": line.rstrip("\r\n")[:80]})
            continue
        requests += 1
        if match["bytes"] != "-":
            sent += int(match["bytes"])
        classes[match["status"][0] + "xx"] += 1
        clients[match["client"]] += 1
        hours[match["hour"]] += 1
        path = path_of(match["request"])
        if path is None:
            strange += 1
            continue
        paths[path] += 1
        if match["status"] == "404":
            errors[path] += 1
    return {
        "requests": requests,
        "bytes": sent,
        "status": dict(sorted(classes.items())),
        "topPaths": top(paths, "path"),
        "topClients": top(clients, "client"),
        "topNotFound": top(errors, "path"),
        "clients": len(clients),
        "hours": {f"{hour:02}": hours[f"{hour:02}"] for hour in range(24)},
        "notHttp": strange,
        "unparsable": {"lines": unparsable, "first": shown},
    }


def handler(event, context):
    log = event.get("log") if isinstance(event, dict) else event
    if isinstance(log, str):
        return summarise(log.splitlines())
    if log is not None or event:
        raise ValueError('the event is no log: send it as a JSON string or as {"log": "..."}, '
                         "or {} for access.log in the function's folder")
    path = os.path.join(os.path.dirname(__file__), "access.log")
    with open(path, encoding="utf-8", errors="replace") as lines:
        return summarise(lines)
