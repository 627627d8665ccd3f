// The node runtime's first file: loads the handler, takes the one event, gives it
// to the handler; with FNRUN_SERVE=1 one event after the other. Started as
// `node bootstrap.js` with the function's folder in LAMBDA_TASK_ROOT, the log on
// descriptors 1 and 2 and the runner on descriptor 3.
//
//   channel.js  bytes and frames on descriptors, synchronously
//   log.js      console and process.stdout as Lambda's node writes them
//   call.js     the one answer, and everything that can end the process before it
//   load.js     finds and loads the function's module
//   lambda.js   exports.handler(event, context, callback)
//   azure.js    function.json and (context, req), with azure_http.js, azure_form.js
//   errors.js   what errors look like outside; loaded when something fails
//
// Each file costs 0.2 ms of a start of 60 to 70: few are loaded before the event.
'use strict';

const channel = require('./channel.js');
const log = require('./log.js');
const call = require('./call.js');

log.install();
call.install();

const azure = process.env.FNRUN_RUNTIME_FORM === 'azure';
delete process.env.FNRUN_RUNTIME_FORM;
const form = azure ? require('./azure.js') : require('./lambda.js');

const many = process.env.FNRUN_SERVE === '1';
delete process.env.FNRUN_SERVE;

function handle(handler, statusAtEnd) {
    const event = channel.readEvent(statusAtEnd);
    call.begin(event.keys);
    form.invoke(handler, event);
}

function serve(handler) {
    channel.sendReady();
    if (many) {
        call.serveMany(() => handle(handler, 0));
    }
    handle(handler, 1);
}

// CommonJS is loaded without a promise in between: a handler that throws while it
// is loaded fails here, one that throws while it is called fails in invoke.
let handler;
try {
    handler = form.load();
} catch (error) {
    call.die(error, 'Uncaught Exception');
}
if (handler instanceof Promise) {
    handler
        .then(serve, (error) => call.die(error, 'Uncaught Exception'))
        .catch((error) => call.die(error));
} else {
    serve(handler);
}
