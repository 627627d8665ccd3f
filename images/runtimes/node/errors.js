// Errors as they are seen outside: the object of FRAME_ERROR, the line in the log,
// and the texts that say what to do. Loaded only when something has failed.
'use strict';

const util = require('util');

/* An error of the Runtime.* family. */
class RuntimeError extends Error {
    constructor(type, message, cause) {
        super(message);
        Object.defineProperty(this, 'name', { value: `Runtime.${type}` }); // not shown by logText
        if (cause !== undefined && cause !== null && typeof cause.stack === 'string') {
            this.stack = cause.stack;
        } else {
            this.stack = `${this.name}: ${message}`;
        }
    }
}

function looksLikeError(value) {
    return (
        util.types.isNativeError(value) ||
        (value !== null &&
            typeof value === 'object' &&
            typeof value.name === 'string' &&
            typeof value.message === 'string' &&
            typeof value.stack === 'string')
    );
}

/* A stack as lines, cut where this runtime begins: what follows is the same for
 * every error and none of it is the function's. */
function stackLines(stack) {
    if (typeof stack !== 'string') {
        return [];
    }
    const lines = stack.split('\n').filter((line) => !line.startsWith(`- ${__dirname}/`));
    const isFrame = (line) => /^\s+at /.test(line);
    const ours = lines.findIndex((line) => isFrame(line) && line.includes(`${__dirname}/`));
    const kept = ours < 0 ? lines : lines.slice(0, ours);
    while (
        kept.length > 0 &&
        isFrame(kept[kept.length - 1]) &&
        /[( ]node:internal\//.test(kept[kept.length - 1])
    ) {
        kept.pop();
    }
    return kept;
}

function textOf(value) {
    if (value !== null && typeof value === 'object') {
        const text = String(value);
        return text === '[object Object]' ? util.inspect(value, { breakLength: Infinity }) : text;
    }
    return String(value);
}

/* The error object for the caller. Everything in it comes from the function and
 * may throw when it is touched (getters, proxies). */
function describe(error, requestId) {
    let type;
    let message;
    let stack;
    try {
        if (looksLikeError(error)) {
            type = String(error.name || 'Error');
            message = String(error.message);
            stack = stackLines(error.stack);
        } else {
            type = typeof error;
            message = textOf(error);
            stack = [];
        }
    } catch (problem) {
        type = 'handled';
        message = 'The function failed with an error whose name, message and stack cannot be read.';
        stack = [];
    }
    return { errorType: type, errorMessage: message, requestId, stackTrace: stack };
}

/* The error as Lambda's node logs it: JSON on one line, with the error's own
 * properties. */
function logText(error) {
    try {
        return JSON.stringify(
            error instanceof Error ? error : new Error(textOf(error)),
            (key, value) => {
                if (!(value instanceof Error)) {
                    return value;
                }
                const shown = {
                    errorType: value.name,
                    errorMessage: value.message,
                    code: value.code,
                };
                Object.assign(shown, value);
                shown.stack = stackLines(value.stack);
                return shown;
            },
        );
    } catch (problem) {
        return JSON.stringify(describe(error));
    }
}

/* A result that JSON cannot express. */
function unmarshalable(value, cause) {
    const why = cause ? describe(cause).errorMessage : `a ${typeof value} has no JSON form`;
    return new RuntimeError(
        'MarshalError',
        `The handler's result is not JSON: ${why}. Return objects, arrays, strings, ` +
            'numbers, booleans and null only; a BigInt as a string.',
    );
}

function unhandledRejection(reason) {
    let text;
    try {
        text = looksLikeError(reason) ? `${reason.name}: ${reason.message}` : textOf(reason);
    } catch (problem) {
        text = 'a reason that cannot be read';
    }
    return new RuntimeError('UnhandledPromiseRejection', text, reason);
}

module.exports = { RuntimeError, describe, logText, unmarshalable, unhandledRejection };
