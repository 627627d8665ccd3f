// The Lambda form: exports.handler(event, context, callback), as on AWS Lambda.
'use strict';

const path = require('path');
const load = require('./load.js');
const call = require('./call.js');

/* "src/index.a.b" is the module src/index and the export a.b. */
function splitHandler(text) {
    const match = /^([^.]*)\.(.+)$/.exec(path.basename(text));
    if (!match || match[1] === '' || text.includes('..')) {
        throw call.runtimeError(
            'MalformedHandlerName',
            `'${text}' is not a handler. Write file.export, for example index.handler for ` +
                'exports.handler in index.js; folders go before it (src/index.handler), no "..".',
        );
    }
    return { module: path.join(path.dirname(text), match[1]), names: match[2].split('.') };
}

function notFound(type, text) {
    if (load.azureLibraryMajor() >= 4) {
        return call.runtimeError(
            type,
            `${text} package.json asks for @azure/functions 4: ${load.AZURE_V4}.`,
        );
    }
    return call.runtimeError(type, text);
}

function noModule(text, module) {
    const there = load.scripts();
    const have = there.length
        ? `the folder has ${there.slice(0, 20).join(', ')}`
        : 'the folder has no scripts';
    return notFound(
        'ImportModuleError',
        `Cannot find module '${module}' of the handler ${text}: looked for ${module}.js, .mjs ` +
            `and .cjs; ${have}. Set handler in function.ini to file.export.`,
    );
}

function pick(exported, text, names) {
    let owner;
    let value = exported;
    for (const name of names) {
        owner = value;
        value = value === undefined || value === null ? undefined : value[name];
    }
    if (value === undefined || value === null) {
        const have = exported === null || exported === undefined ? [] : Object.keys(exported);
        throw notFound(
            'HandlerNotFound',
            `${text} is undefined or not exported: the module exports ` +
                `${have.length ? have.slice(0, 20).join(', ') : 'nothing'}. ` +
                `Write \`exports.${names.join('.')} = async (event, context) => ...\`, ` +
                'or set handler in function.ini.',
        );
    }
    if (typeof value !== 'function') {
        throw notFound('HandlerNotFound', `${text} is not a function but ${typeof value}.`);
    }
    return value;
}

// On Lambda a global of that name makes streaming handlers. Saying so when it is
// used is better than a ReferenceError.
function installStreaming() {
    const refuse = () => {
        throw call.runtimeError(
            'MalformedStreamingHandler',
            'awslambda.streamifyResponse: response streaming is not supported yet; ' +
                'return the whole result.',
        );
    };
    const unsupported = { streamifyResponse: refuse, HttpResponseStream: { from: refuse } };
    Object.defineProperty(globalThis, 'awslambda', {
        configurable: true,
        writable: true,
        value: unsupported,
    });
}

/* Returns the handler function, or a promise of it. */
exports.load = function () {
    installStreaming();
    const text = process.env._HANDLER || 'index.handler';
    const { module, names } = splitHandler(text);
    const file = load.findModule(module);
    if (file === undefined) {
        throw noModule(text, module);
    }
    const exported = load.loadFile(file);
    if (exported instanceof Promise) {
        return exported.then((namespace) => pick(namespace, text, names));
    }
    return pick(exported, text, names);
};

function parse(text, what, type) {
    try {
        return JSON.parse(text);
    } catch (error) {
        throw call.runtimeError(type, `The ${what} is not JSON: ${error.message}`);
    }
}

/* The members that come from the environment and from the event's head. */
function contextData(keys) {
    const { env } = process;
    const name = env.AWS_LAMBDA_FUNCTION_NAME;
    // The sandbox has no deadline of its own: the runner says what is left, and
    // keeps the time outside. Without it, Lambda's longest.
    const deadline = Date.now() + Number(keys['timeout-ms'] || 900000);
    const client = keys['client-context'];
    return {
        functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
        functionName: name,
        memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
        logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
        logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
        clientContext: client
            ? parse(client, 'client context', 'LambdaContextUnmarshalError')
            : undefined,
        identity: undefined,
        invokedFunctionArn:
            keys['invoked-function-arn'] ||
            `arn:aws:lambda:${env.AWS_REGION || 'us-east-1'}:000000000000:function:${name}`,
        awsRequestId: keys['request-id'],
        tenantId: undefined,
        getRemainingTimeInMillis: () => deadline - Date.now(),
    };
}

/* callback and context of one call. Only the first call of callback, done, succeed
 * or fail counts; done, succeed and fail answer at once, callback when the event
 * loop is empty, unless context.callbackWaitsForEmptyEventLoop is false. */
function callbackStyle() {
    let answered = false;
    let waits = true;
    const once =
        (action) =>
        (...values) => {
            if (!answered) {
                answered = true;
                action(...values);
            }
        };
    const isError = (error) => error !== undefined && error !== null;
    const done = once((error, value) => (isError(error) ? call.fail(error) : call.succeed(value)));
    const callback = once((error, value) => {
        if (isError(error)) {
            call.fail(error);
        } else if (waits) {
            call.onDrained(() => call.succeed(value));
        } else {
            call.succeed(value);
        }
    });
    const context = {
        get callbackWaitsForEmptyEventLoop() {
            return waits;
        },
        set callbackWaitsForEmptyEventLoop(value) {
            waits = value;
        },
        succeed: (value) => done(null, value),
        fail: (error) => done(isError(error) ? error : 'handled'),
        done,
    };
    return { callback, context };
}

function isPromise(value) {
    return Boolean(value) && typeof value.then === 'function';
}

function nothingLeft() {
    call.fail(
        call.runtimeError(
            'NodeJsExit',
            'The handler returned a promise that is not settled, and nothing is left to ' +
                'settle it. Look for a callback that is not called, or an await on it.',
        ),
    );
}

/* Calls the handler; everything from here on ends in call.js. */
exports.invoke = function (handler, event) {
    const { callback, context } = callbackStyle();
    let result;
    // A handler that is not async may call back until the event loop is empty. When
    // it does not, what it returned is the result (Lambda answers null then).
    call.onDrained(() => (isPromise(result) ? nothingLeft() : call.succeed(result)));
    try {
        const value = parse(event.text, 'event', 'UnmarshalError');
        Object.assign(context, contextData(event.keys));
        result = handler(value, context, callback);
    } catch (error) {
        context.fail(error);
        return;
    }
    if (isPromise(result)) {
        result.then(context.succeed, context.fail);
    }
};
