"""The handler of examples/hello-python without fnrun: what any script would do."""
import json
import sys

sys.path.insert(0, sys.argv[1])
import app

print(json.dumps(app.handler(json.loads(sys.argv[2]), None)))
