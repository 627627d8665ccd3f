// req.parseFormBody(): urlencoded and multipart bodies (RFC 7578). Loaded when used.
'use strict';

/* Parts in order, each [name, {value: Buffer, fileName?, contentType?}]. */
class Form {
    #parts;

    constructor(parts) {
        this.#parts = parts;
    }

    get(name) {
        const found = this.#parts.find(([key]) => key === name);
        return found ? found[1] : null;
    }

    getAll(name) {
        return this.#parts.filter(([key]) => key === name).map(([, part]) => part);
    }

    has(name) {
        return this.#parts.some(([key]) => key === name);
    }

    get length() {
        return this.#parts.length;
    }

    [Symbol.iterator]() {
        return this.#parts[Symbol.iterator]();
    }
}

/* A parameter of a header's value: name=token or name="quoted". */
function parameter(header, name) {
    const match = new RegExp(`;\\s*${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]+))`, 'i').exec(
        header,
    );
    if (!match) {
        return undefined;
    }
    return match[1] !== undefined ? match[1].replace(/\\(.)/g, '$1') : match[2];
}

function parsePart(bytes) {
    const end = bytes.indexOf('\r\n\r\n');
    if (end < 0) {
        throw new Error('A part of the form has no empty line after its headers.');
    }
    const headers = {};
    for (const line of bytes.toString('utf8', 0, end).split('\r\n')) {
        const colon = line.indexOf(':');
        headers[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
    }
    const disposition = headers['content-disposition'] || '';
    const name = parameter(disposition, 'name');
    if (name === undefined) {
        throw new Error(
            'Expected every part of the form to have a content-disposition with a name.',
        );
    }
    const part = { value: bytes.subarray(end + 4) };
    const fileName = parameter(disposition, 'filename');
    if (fileName !== undefined) {
        part.fileName = fileName;
    }
    if (headers['content-type'] !== undefined) {
        part.contentType = headers['content-type'];
    }
    return [name, part];
}

function parseMultipart(bytes, boundary) {
    // Every delimiter but the first has a line end before it; give that one too.
    const body = Buffer.concat([Buffer.from('\r\n'), bytes]);
    const delimiter = Buffer.from(`\r\n--${boundary}`);
    const parts = [];
    let at = body.indexOf(delimiter);
    if (at < 0) {
        throw new Error(`Expected the form to start with the boundary "${boundary}".`);
    }
    for (;;) {
        at += delimiter.length;
        if (body.toString('latin1', at, at + 2) === '--') {
            return parts;
        }
        const next = body.indexOf(delimiter, at);
        const start = body.indexOf('\r\n', at);
        if (next < 0 || start < 0 || start > next) {
            throw new Error('The form ends before its last boundary.');
        }
        parts.push(parsePart(body.subarray(start + 2, next)));
        at = next;
    }
}

function parseForm(body, contentType) {
    if (!contentType) {
        throw new Error('"content-type" header must be defined.');
    }
    const media = contentType.split(';')[0].trim().toLowerCase();
    const bytes = Buffer.isBuffer(body)
        ? body
        : Buffer.from(body === undefined ? '' : String(body));
    if (media === 'application/x-www-form-urlencoded') {
        const pairs = [...new URLSearchParams(bytes.toString())];
        return new Form(pairs.map(([name, value]) => [name, { value: Buffer.from(value) }]));
    }
    if (media === 'multipart/form-data') {
        const boundary = parameter(contentType, 'boundary');
        if (boundary === undefined) {
            throw new Error('The content-type of the form names no boundary.');
        }
        return new Form(parseMultipart(bytes, boundary));
    }
    throw new Error(
        `Media type "${media}" is no form; "multipart/form-data" and ` +
            '"application/x-www-form-urlencoded" are.',
    );
}

module.exports = { parseForm };
