// The log: console's methods write Lambda's lines, process.stdout and
// process.stderr write raw bytes, all of it at once, so that nothing is left to
// flush when the answer goes out.
'use strict';

const { format } = require('util');
const channel = require('./channel.js');

let requestId; // until the event is there, lines say "undefined", as on Lambda
let muted = false;

/* One line `<ISO time>\t<request id>\t<LEVEL>\t<message>`. Lambda turns a newline
 * in the message to a carriage return; here it stays one, to be read by people. */
function line(level, message) {
    write(1, `${new Date().toISOString()}\t${requestId}\t${level}\t${message}\n`);
}

// A handler may close descriptor 1, or its reader may be gone: that costs the log,
// not the answer.
function write(fd, text) {
    if (muted) {
        return;
    }
    try {
        channel.writeText(fd, text);
    } catch (error) {
        muted = true;
    }
}

// Node's own streams make the pipe non-blocking, for the function's children too
// (which then lose output to EAGAIN), and load net. This one does neither.
function standardStream(fd) {
    const { Writable } = require('stream');
    const stream = new Writable({
        decodeStrings: true,
        write(chunk, encoding, done) {
            try {
                channel.writeAll(fd, chunk);
            } catch (error) {
                done(error);
                return;
            }
            done();
        },
        destroy(error, done) {
            done(error); // as node's own: descriptors 1 and 2 stay open
        },
    });
    stream.fd = fd;
    stream._type = 'pipe';
    stream._isStdio = true;
    stream.destroySoon = stream.destroy;
    return stream;
}

function defineStream(name, fd) {
    let stream;
    Object.defineProperty(process, name, {
        configurable: true,
        enumerable: true,
        get() {
            stream = stream || standardStream(fd);
            return stream;
        },
    });
}

function install() {
    defineStream('stdout', 1);
    defineStream('stderr', 2);
    const methods = {
        trace: 'TRACE',
        debug: 'DEBUG',
        info: 'INFO',
        log: 'INFO',
        warn: 'WARN',
        error: 'ERROR',
        fatal: 'FATAL',
    };
    for (const method of Object.keys(methods)) {
        const level = methods[method];
        console[method] = (...values) => line(level, format(...values));
    }
}

function setRequestId(id) {
    requestId = id;
}

module.exports = { install, setRequestId, line };
