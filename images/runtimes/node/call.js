// The one answer to an event. Whoever comes first (the handler's result, its error, an
// exception nobody caught, process.exit, an empty event loop) gives it; once it is sent
// the process ends, or where it serves many events goes on to the next.
'use strict';

const channel = require('./channel.js');
const log = require('./log.js');

let requestId;
let answer = null; // sends the answer, once somebody has given it
let whenDrained = null;
let next = null; // reads and handles the next event
// Kept here, as a handler may replace it: it comes after what the answer's code still does.
const later = setImmediate;

/* Sends the answer. Nothing that the handler left open (timers, connections, threads)
 * keeps the process alive after its last one, and no exit handler runs. */
function finish(send, text) {
    send(text);
    if (next === null) {
        channel.end(send === channel.sendResult ? 0 : 1);
    }
    answer = null;
    // The event loop would seem empty to node, which would leave.
    later(next);
}

/* The code that answered goes on until it returns (`context.succeed(x); log()`),
 * as it does on Lambda; nothing else runs. */
function give(send, text) {
    if (answer === null) {
        const mine = () => {
            if (answer === mine) {
                finish(send, text);
            }
        };
        answer = mine;
        process.nextTick(mine);
    }
}

/* Answers with a value: undefined becomes null. */
function succeed(value) {
    let text;
    try {
        text = JSON.stringify(value === undefined ? null : value);
        if (text === undefined && typeof value === 'object') {
            text = 'null'; // its toJSON returned undefined
        }
    } catch (error) {
        fail(require('./errors.js').unmarshalable(value, error));
        return;
    }
    if (text === undefined) {
        fail(require('./errors.js').unmarshalable(value));
        return;
    }
    give(channel.sendResult, text);
}

/* Answers with an error: anything that can be thrown. label: how the log's line
 * for it begins. */
function fail(error, label = 'Invoke Error') {
    if (answer === null) {
        const errors = require('./errors.js');
        log.line('ERROR', `${label} \t${errors.logText(error)}`);
        give(channel.sendError, JSON.stringify(errors.describe(error, requestId)));
    }
}

/* As fail, and nothing of the function runs any more. An answer given before and
 * not sent yet goes out instead. */
function die(error, label) {
    next = null;
    fail(error, label);
    answer();
}

function runtimeError(type, message) {
    const { RuntimeError } = require('./errors.js');
    return new RuntimeError(type, message);
}

/* What to do when the event loop is empty and nobody has answered. */
function onDrained(action) {
    whenDrained = action;
}

/* There may be more events than one: what to do after each answer. */
function serveMany(action) {
    next = action;
}

/* The event is there: keys of its head. */
function begin(keys) {
    requestId = keys['request-id'];
    log.setRequestId(requestId);
    if (keys['trace-id']) {
        process.env._X_AMZN_TRACE_ID = keys['trace-id'];
    } else {
        delete process.env._X_AMZN_TRACE_ID;
    }
}

/* Watches everything by which a process ends without an answer. */
function install() {
    process.on('uncaughtException', (error) => die(error, 'Uncaught Exception'));
    process.on('unhandledRejection', (reason) => {
        const { unhandledRejection } = require('./errors.js');
        die(unhandledRejection(reason), 'Unhandled Promise Rejection');
    });
    whenDrained = () => {
        const text =
            'Loading the handler never ended: its module waits at the top level for a promise ' +
            'that nothing can settle any more.';
        fail(runtimeError('NodeJsExit', text));
    };
    process.on('beforeExit', () => {
        whenDrained();
        answer();
    });
    // process.exit runs the exit handlers, then this.
    process.reallyExit = (code) => {
        const text =
            `The function's code called process.exit(${code || 0}) before it had answered. ` +
            'Return a value, or throw an error, instead.';
        die(answer === null ? runtimeError('NodeJsExit', text) : undefined);
    };
}

module.exports = { succeed, fail, die, runtimeError, onDrained, serveMany, begin, install };
