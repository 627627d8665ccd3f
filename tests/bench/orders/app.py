"""The python function of the benchmark, and what its baselines import: modules that many
handlers import, 100,000 small dicts, an event's worth of work. Deployed as it is."""

import datetime
import decimal
import json
import logging
import urllib.request

logger = logging.getLogger("orders")
logging.basicConfig(level=logging.WARNING)
STOCK = [{"id": number, "name": f"n{number}", "price": number * 0.5} for number in range(100000)]
served = 0


def handler(event, context):
    """`served` is 1 in a process that handles its first event, and more in any other."""
    global served
    served += 1
    total = sum(decimal.Decimal(item["price"]) * item["count"] for item in event["items"])
    when = datetime.datetime.fromisoformat(event["when"]) + datetime.timedelta(days=1)
    worth = sum(STOCK[number]["price"] for number in event["stock"])
    logger.info("worth %s", worth)
    return {
        "id": event["id"],
        "total": str(total),
        "when": when.isoformat(),
        "worth": worth,
        "name": urllib.request.quote(event["name"]),
        "text": json.dumps(event["items"]),
        "served": served,
    }
