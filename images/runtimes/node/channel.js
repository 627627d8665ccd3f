// Bytes on descriptors, synchronously: an answer must be out before the process
// ends, and so must the log before the answer. The frames are runner/frame.h's.
'use strict';

// Kept here so that a handler that replaces them in `fs` does not cut the channel.
const { readSync, writeSync } = require('fs');
// The real end, without exit handlers: call.js puts a watch on process.reallyExit.
const end = process.reallyExit.bind(process);

const FRAME_FD = 3;
const FRAME_HEAD = 8;
const FRAME_EVENT = 1;
const FRAME_READY = 2;
const FRAME_RESULT = 3;
const FRAME_ERROR = 4;

// A descriptor that somebody (a child, a stream) made non-blocking says EAGAIN
// when it is full or empty. There is nothing to wait on but time.
let pause;
function retry(error) {
    if (error.code === 'EAGAIN') {
        pause = pause || new Int32Array(new SharedArrayBuffer(4));
        Atomics.wait(pause, 0, 0, 1);
    } else if (error.code !== 'EINTR') {
        throw error;
    }
}

/* Writes all of a Buffer (or other view of bytes), or throws. */
function writeAll(fd, bytes) {
    let done = 0;
    while (done < bytes.length) {
        try {
            done += writeSync(fd, bytes, done, bytes.length - done);
        } catch (error) {
            retry(error);
        }
    }
}

/* Writes text as UTF-8. */
function writeText(fd, text) {
    writeAll(fd, Buffer.from(text));
}

/* Fills bytes from `from` up to at least `until`. Returns how far it got. When the
 * runner is gone there is nobody to answer: the process ends, with this status. */
function readUntil(bytes, from, until, status = 1) {
    while (from < until) {
        try {
            const count = readSync(FRAME_FD, bytes, from, bytes.length - from, null);
            if (count === 0) {
                end(status);
            }
            from += count;
        } catch (error) {
            retry(error);
        }
    }
    return from;
}

function send(type, text) {
    const length = Buffer.byteLength(text);
    const frame = Buffer.allocUnsafe(FRAME_HEAD + length);
    frame.writeUInt32LE(type, 0);
    frame.writeUInt32LE(length, 4);
    frame.write(text, FRAME_HEAD);
    writeAll(FRAME_FD, frame);
}

function sendReady() {
    send(FRAME_READY, '');
}

function sendResult(text) {
    send(FRAME_RESULT, text);
}
function sendError(text) {
    send(FRAME_ERROR, text);
}

let unread = Buffer.alloc(0); // what came with the last event and is of the next

/* Waits for FRAME_EVENT. Returns {keys: {'request-id': ..., ...}, text}, text being
 * the event's JSON. status: with which the process ends when none comes. */
function readEvent(status) {
    // Small events arrive with one read; a big one gets a buffer of its size.
    let bytes = Buffer.allocUnsafe(65536);
    let filled = readUntil(bytes, unread.copy(bytes), FRAME_HEAD, status);
    const type = bytes.readUInt32LE(0);
    const total = FRAME_HEAD + bytes.readUInt32LE(4);
    if (type !== FRAME_EVENT) {
        throw new Error(`The runner sent a frame of type ${type} where the event was expected.`);
    }
    if (total > bytes.length) {
        const small = bytes;
        bytes = Buffer.allocUnsafeSlow(total);
        small.copy(bytes, 0, 0, filled);
    }
    filled = readUntil(bytes, filled, total);
    unread = Buffer.from(bytes.subarray(total, filled));

    const keys = {};
    let at = FRAME_HEAD;
    for (;;) {
        const newline = bytes.indexOf(10, at);
        if (newline < 0 || newline >= total) {
            throw new Error('The runner sent an event without the empty line after its head.');
        }
        const line = bytes.toString('utf8', at, newline);
        at = newline + 1;
        if (line === '') {
            break;
        }
        const colon = line.indexOf(': ');
        if (colon > 0) {
            keys[line.slice(0, colon)] = line.slice(colon + 2);
        }
    }
    return { keys, text: bytes.toString('utf8', at, total) };
}

module.exports = { writeAll, writeText, sendReady, sendResult, sendError, readEvent, end };
