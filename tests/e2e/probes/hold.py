"""Says that it is there, and stays for so many seconds."""

import time


def handler(event, context):
    print("here", flush=True)
    time.sleep(event)
    return event
