// The Azure Functions form, JavaScript v3 model: function.json names the bindings,
// the module exports function (context, ...inputs). It answers by its return value,
// by context.res and context.bindings, or by context.done.
'use strict';

const path = require('path');
const { format } = require('util');
const load = require('./load.js');
const call = require('./call.js');
const log = require('./log.js');

// What an event can stand for, and what a result can show. Other bindings read from
// services (a blob, a table row), which nothing here is connected to.
const TRIGGERS = [
    'httpTrigger',
    'timerTrigger',
    'queueTrigger',
    'blobTrigger',
    'serviceBusTrigger',
    'eventHubTrigger',
    'eventGridTrigger',
    'cosmosDBTrigger',
];
const OUTPUTS = [
    'http',
    'queue',
    'blob',
    'table',
    'serviceBus',
    'eventHub',
    'eventGrid',
    'cosmosDB',
];

function invalid(text) {
    return call.runtimeError('InvalidTaskConfig', `function.json: ${text}`);
}

function known(list, type) {
    return list.find((name) => name.toLowerCase() === String(type).toLowerCase());
}

/* Whether the `disabled` of function.json holds: a boolean, or the name of a
 * variable of the environment. */
function isDisabled(value) {
    if (typeof value === 'string') {
        return !/^(false|0)?$/i.test(process.env[value] || '');
    }
    return Boolean(value);
}

function readConfig() {
    let config;
    try {
        config = load.readJson(path.join(load.root, 'function.json'));
    } catch (error) {
        throw invalid(`cannot be read as JSON: ${error.message}`);
    }
    if (config === undefined) {
        throw invalid(
            'there is no such file in the folder; it names the bindings of an Azure function.',
        );
    }
    if (config === null || typeof config !== 'object' || !Array.isArray(config.bindings)) {
        throw invalid('an object with a list `bindings` was expected.');
    }
    return config;
}

/* Checks every binding and says all that is wrong at once. Returns
 * {config, trigger, outputs: [binding]}. */
function checkConfig(config) {
    const problems = [];
    const triggers = [];
    const outputs = [];
    config.bindings.forEach((binding, index) => {
        if (binding === null || typeof binding !== 'object' || !binding.name || !binding.type) {
            problems.push(`binding ${index + 1} needs a name and a type`);
            return;
        }
        const what = `binding '${binding.name}' of type '${binding.type}'`;
        const direction = String(binding.direction || 'in').toLowerCase();
        const trigger = known(TRIGGERS, binding.type);
        const output = known(OUTPUTS, binding.type);
        if (direction === 'in' && trigger) {
            triggers.push({ ...binding, type: trigger });
        } else if (direction === 'out' && output) {
            outputs.push({ ...binding, type: output });
        } else {
            problems.push(`${what} and direction '${direction}' is not supported`);
        }
    });
    if (problems.length > 0) {
        throw invalid(
            `${problems.join('; ')}. Supported are, with direction in: ${TRIGGERS.join(', ')}; ` +
                `with direction out: ${OUTPUTS.join(', ')}.`,
        );
    }
    if (triggers.length !== 1) {
        throw invalid(`one trigger was expected among the bindings, ${triggers.length} are there.`);
    }
    return { config, trigger: triggers[0], outputs };
}

/* The function and its `this`: entryPoint, else the only export, else run or index. */
function pickEntry(exported, entryPoint, file) {
    let entry = exported;
    let owner;
    if (exported !== null && typeof exported === 'object') {
        const names = Object.keys(exported).filter((name) => name !== '__esModule');
        const sole = names.length === 1 && typeof exported[names[0]] === 'function' ? names : [];
        const name =
            entryPoint || [...sole, 'run', 'index'].find((candidate) => exported[candidate]);
        entry = name === undefined ? undefined : exported[name];
        owner = exported;
        if (entry === undefined && names.length > 0) {
            throw call.runtimeError(
                'HandlerNotFound',
                `${load.shown(file)} exports ${names.slice(0, 20).join(', ')}` +
                    (entryPoint ? `, but not the entryPoint '${entryPoint}'. ` : '. ') +
                    'Name one of them run or index, or set entryPoint in function.json.',
            );
        }
    }
    if (typeof entry !== 'function') {
        throw call.runtimeError(
            'HandlerNotFound',
            `${load.shown(file)} does not export a function. ` +
                'Write `module.exports = async function (context, req) {...}`.',
        );
    }
    return entry.bind(owner);
}

function findScript(config) {
    const named = config.scriptFile;
    const candidates = named ? [String(named)] : ['index.js', 'index.mjs', 'index.cjs'];
    for (const name of candidates) {
        const file = path.resolve(load.root, name);
        if (load.isFile(file)) {
            return file;
        }
    }
    const outside =
        named && path.relative(load.root, path.resolve(load.root, named)).startsWith('..');
    const why = outside
        ? "it lies outside the function's folder, which is all that is there: move it in"
        : `there is ${load.scripts().join(', ') || 'no script'}; set scriptFile in function.json`;
    throw call.runtimeError('ImportModuleError', `Cannot find ${candidates[0]}: ${why}.`);
}

/* Returns what invoke needs, or a promise of it. */
exports.load = function () {
    const config = readConfig();
    if (isDisabled(config.disabled)) {
        throw invalid(`the function is disabled ("disabled": ${JSON.stringify(config.disabled)}).`);
    }
    if (load.azureLibraryMajor() >= 4) {
        throw call.runtimeError('InvalidTaskConfig', `package.json: ${load.AZURE_V4}.`);
    }
    const plan = checkConfig(config);
    const file = findScript(config);
    const exported = load.loadFile(file);
    const finish = (loaded) => {
        plan.entry = pickEntry(loaded, config.entryPoint, file);
        return plan;
    };
    return exported instanceof Promise ? exported.then(finish) : finish(exported);
};

function logger() {
    const at =
        (level) =>
        (...values) =>
            log.line(level, format(...values));
    return Object.assign(at('INFO'), {
        error: at('ERROR'),
        warn: at('WARN'),
        info: at('INFO'),
        verbose: at('TRACE'),
    });
}

function traceContext(trace) {
    // Only a W3C trace parent means something here.
    const isParent = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(trace || '');
    return isParent ? { traceparent: trace, tracestate: '', attributes: {} } : {};
}

function makeContext(plan, keys, name, done) {
    const invocationId = keys['request-id'];
    return {
        invocationId,
        executionContext: {
            invocationId,
            functionName: name,
            functionDirectory: load.root,
            retryContext: null,
        },
        bindings: {},
        bindingData: { invocationId },
        traceContext: traceContext(keys['trace-id']),
        bindingDefinitions: plan.config.bindings.map((binding) => ({
            name: binding.name,
            type: binding.type,
            direction: binding.direction || 'in',
        })),
        log: logger(),
        done,
    };
}

/* Puts the event into the context. Returns the value of the trigger's binding. */
function bindTrigger(context, plan, event, name) {
    const { trigger } = plan;
    const value = JSON.parse(event.text);
    let input;
    if (trigger.type === 'httpTrigger') {
        const http = require('./azure_http.js');
        input = http.makeRequest(value, event.text, trigger, name);
        context.req = input;
        context.res = new http.Response(context.done);
        Object.assign(context.bindingData, input.params, {
            query: { ...input.query },
            headers: { ...input.headers },
            sys: {
                methodName: name,
                utcNow: new Date().toISOString(),
                get randGuid() {
                    return require('crypto').randomUUID();
                },
            },
        });
    } else {
        const made = require('./azure_triggers.js').makeInput(value, trigger, context.invocationId);
        input = made.input;
        Object.assign(context.bindingData, made.data);
    }
    context.bindings[trigger.name] = input;
    return input;
}

/* What a function that has not answered waits for, from the point of view of an
 * empty event loop. */
function neverDone(isPromise) {
    const why = isPromise
        ? 'The function returned a promise that is not settled, and nothing is left to settle it.'
        : 'The function ended without calling context.done(), and it is not async. ' +
          'Make it async, or call context.done().';
    call.fail(call.runtimeError('NodeJsExit', why));
}

const BOTH =
    "Error: Choose either to return a promise or call 'done'. Do not use both in your script.";
const TWICE =
    "Error: 'done' has already been called. " +
    "Please check your script for extraneous calls to 'done'.";

/* Calls the function; everything from here on ends in call.js. */
exports.invoke = function (plan, event) {
    const name = process.env.AWS_LAMBDA_FUNCTION_NAME || path.basename(load.root);
    let outcome = null; // {error} or {result}: the first one counts
    let returned = null; // null: still in the call; else {isPromise, settled}
    let context;

    const answer = () => {
        if (outcome.error !== undefined && outcome.error !== null) {
            call.fail(outcome.error);
            return;
        }
        try {
            call.succeed(require('./azure_result.js').makeResult(context, plan, outcome.result));
        } catch (error) {
            call.fail(error);
        }
    };
    // A function that is async and called done goes on to its end before the answer
    // is sent, for the process ends with it.
    const proceed = () => {
        if (outcome && returned && (!returned.isPromise || returned.settled)) {
            process.nextTick(answer);
        }
    };
    const done = (error, result) => {
        if (outcome) {
            log.line('ERROR', TWICE);
            return;
        }
        outcome = { error, result };
        proceed();
    };
    const settle = (error, result) => {
        returned.settled = true;
        if (!outcome) {
            outcome = { error, result };
        } else if (!context.suppressAsyncDoneError) {
            log.line(
                'ERROR',
                error ? format('%s The promise was rejected: %s', BOTH, error) : BOTH,
            );
        }
        proceed();
    };
    call.onDrained(() => (outcome ? answer() : neverDone(returned.isPromise)));

    context = makeContext(plan, event.keys, name, done);
    let value;
    try {
        value = plan.entry(context, bindTrigger(context, plan, event, name));
    } catch (error) {
        call.fail(error);
        return;
    }
    returned = { isPromise: Boolean(value) && typeof value.then === 'function', settled: false };
    if (returned.isPromise) {
        value.then(
            (result) => settle(undefined, result),
            (error) => settle(error === undefined || error === null ? 'Unknown error' : error),
        );
    }
    proceed();
};
