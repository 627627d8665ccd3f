"""The smallest function: fnrun invoke examples/hello-python --event '{"name":"Ada"}'"""


def handler(event, context):
    name = event.get("name") or "World"
    return {"message": f"Hello, {name}!"}
