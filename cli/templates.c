#include "cli/templates.h"

/* --- function.ini: what differs, and what all have ---------------------------- */

#define INI(runtime_and_handler)                                                                   \
    "[function]\n" runtime_and_handler "\n"                                                        \
    "; A line that starts with ; is a comment. The values shown in comments are the\n"             \
    "; defaults; all keys are in the manual page function.ini(5).\n"                               \
    "\n"                                                                                           \
    "[limits]\n"                                                                                   \
    "; memory = 128M\n"                                                                            \
    "; timeout = 3s\n"                                                                             \
    "; cpu = 1.0\n"                                                                                \
    "; processes = 64\n"                                                                           \
    "; tmp = 64M\n"                                                                                \
    "\n"                                                                                           \
    "[environment]\n"                                                                              \
    "GREETING = Hello\n"                                                                           \
    "\n"                                                                                           \
    "[network]\n"                                                                                  \
    "; none: nothing outside is reachable; host: the machine's own network\n"                      \
    "; mode = none\n"

#define NAME_EVENT "{\"name\": \"Ada\"}\n"

/* --- handlers ----------------------------------------------------------------- */

static const char python_handler[] =
    "\"\"\"Greets whom the event names. Written as for AWS Lambda.\"\"\"\n"
    "import os\n"
    "\n"
    "\n"
    "def handler(event, context):\n"
    "    name = event.get(\"name\", \"world\")\n"
    "    print(f\"greeting {name} for request {context.aws_request_id}\")  # goes to the log\n"
    "    greeting = os.environ.get(\"GREETING\", \"Hello\")\n"
    "    return {\"message\": f\"{greeting}, {name}!\"}\n";

static const char node_handler[] =
    "// Greets whom the event names. Written as for AWS Lambda.\n"
    "exports.handler = async (event, context) => {\n"
    "  const name = event.name ?? 'world';\n"
    "  console.log(`greeting ${name} for request ${context.awsRequestId}`); // goes to the log\n"
    "  return { message: `${process.env.GREETING ?? 'Hello'}, ${name}!` };\n"
    "};\n";

static const char azure_handler[] =
    "// Greets whom the query or the body names. Written as for Azure Functions.\n"
    "module.exports = async function (context, req) {\n"
    "  const name = req.query.name || (req.body && req.body.name) || 'world';\n"
    "  context.log('greeting', name); // goes to the log\n"
    "  context.res = {\n"
    "    status: 200,\n"
    "    body: { message: `${process.env.GREETING || 'Hello'}, ${name}!` },\n"
    "  };\n"
    "};\n";

static const char azure_bindings[] =
    "{\n"
    "  \"bindings\": [\n"
    "    {\n"
    "      \"type\": \"httpTrigger\",\n"
    "      \"direction\": \"in\",\n"
    "      \"name\": \"req\",\n"
    "      \"authLevel\": \"anonymous\",\n"
    "      \"methods\": [\"get\", \"post\"]\n"
    "    },\n"
    "    { \"type\": \"http\", \"direction\": \"out\", \"name\": \"res\" }\n"
    "  ]\n"
    "}\n";

static const char native_handler[] =
    "/* Sends the event back with its length. The result must be JSON: the event is. */\n"
    "#include <fnrun.h>\n"
    "#include <stdio.h>\n"
    "\n"
    "int handler(const struct fnrun_event *event, struct fnrun_result *result) {\n"
    "    char head[64];\n"
    "    int length = snprintf(head, sizeof head, \"{\\\"bytes\\\":%zu,\\\"event\\\":\", "
    "event->length);\n"
    "    fprintf(stderr, \"request %s\\n\", event->request_id); /* goes to the log */\n"
    "    if (fnrun_result_write(result, head, (size_t)length) < 0 ||\n"
    "        fnrun_result_write(result, event->data, event->length) < 0 ||\n"
    "        fnrun_result_write(result, \"}\", 1) < 0)\n"
    "        return fnrun_result_fail(result, \"OutOfMemory\", \"no memory for the result\");\n"
    "    return 0;\n"
    "}\n";

static const char native_makefile[] =
    "CFLAGS = -O2 -Wall -Wextra\n"
    "CPPFLAGS = -I\"" TEMPLATE_INCLUDE "\"\n"
    "\n"
    "handler.so: handler.c\n"
    "\t$(CC) $(CPPFLAGS) $(CFLAGS) -shared -fPIC -o $@ handler.c\n"
    "\tchmod a+rx $@\n"
    "\n"
    "clean:\n"
    "\trm -f handler.so\n"
    ".PHONY: clean\n";

static const char exec_handler[] =
    "#!/bin/sh\n"
    "# Greets whom the event names. The event is stdin, the result stdout, the log stderr.\n"
    "set -eu\n"
    "event=$(cat)\n"
    "name=$(printf '%s\\n' \"$event\" |\n"
    "    sed -n 's/.*\"name\"[[:space:]]*:[[:space:]]*\"\\([^\"\\\\]*\\)\".*/\\1/p')\n"
    "name=${name:-world}\n"
    "echo \"greeting $name\" >&2\n"
    "printf '{\"message\":\"%s, %s!\"}\\n' \"${GREETING:-Hello}\" \"$name\"\n";

/* --- README.md ---------------------------------------------------------------- */

#define README(first)                                                                              \
    "# " TEMPLATE_NAME "\n"                                                                        \
    "\n" first "\n\n"                                                                              \
    "    fnrun invoke ./" TEMPLATE_NAME " --event @" TEMPLATE_NAME "/event.json\n"                 \
    "    fnrun check ./" TEMPLATE_NAME "\n"

#define PLAIN_README README("Run it from the folder above, and check it after a change:")

/* --- the table ---------------------------------------------------------------- */

enum { READABLE = 0644, EXECUTABLE = 0755 };

const struct template templates[] = {
    {"python", "app.py", READABLE, python_handler},
    {"python", "function.ini", READABLE, INI("runtime = python\nhandler = app.handler\n")},
    {"python", "event.json", READABLE, NAME_EVENT},
    {"python", "README.md", READABLE, PLAIN_README},

    {"node", "index.js", READABLE, node_handler},
    {"node", "function.ini", READABLE, INI("runtime = node\nhandler = index.handler\n")},
    {"node", "event.json", READABLE, NAME_EVENT},
    {"node", "README.md", READABLE, PLAIN_README},

    {"azure", "index.js", READABLE, azure_handler},
    {"azure", "function.json", READABLE, azure_bindings},
    {"azure", "function.ini", READABLE,
     INI("; function.json says the rest: the Azure Functions form of node\nruntime = node\n")},
    {"azure", "event.json", READABLE, "{\"method\": \"GET\", \"query\": {\"name\": \"Ada\"}}\n"},
    {"azure", "README.md", READABLE, PLAIN_README},

    {"native", "handler.c", READABLE, native_handler},
    {"native", "Makefile", READABLE, native_makefile},
    {"native", "function.ini", READABLE, INI("runtime = native\nhandler = handler.so\n")},
    {"native", "event.json", READABLE, NAME_EVENT},
    {"native", "README.md", READABLE,
     README("Compile it with `make -C " TEMPLATE_NAME
            "`, run it from the folder above, check it:")},

    {"exec", "run.sh", EXECUTABLE, exec_handler},
    {"exec", "function.ini", READABLE, INI("runtime = exec\nhandler = run.sh\n")},
    {"exec", "event.json", READABLE, NAME_EVENT},
    {"exec", "README.md", READABLE, PLAIN_README},
};
const size_t templates_count = sizeof templates / sizeof *templates;
