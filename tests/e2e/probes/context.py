"""What a Python handler can know of its call."""

import os


def handler(event, context):
    names = ("aws_request_id", "function_name", "function_version", "memory_limit_in_mb", "log_group_name",
             "log_stream_name", "invoked_function_arn")
    seen = {name: getattr(context, name) for name in names}
    seen["remaining"] = context.get_remaining_time_in_millis()
    seen["environ"] = dict(os.environ)
    return seen
