// What an Azure function answered, as the result of the invocation: an HTTP
// response {status, headers, body}, or {outputs} or the return value of others.
'use strict';

const log = require('./log.js');

function bytesOf(value) {
    if (ArrayBuffer.isView(value)) {
        return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    return value instanceof ArrayBuffer ? Buffer.from(value) : null;
}

/* A value as JSON can hold it: bytes in base64. */
function outputValue(value) {
    const bytes = bytesOf(value);
    return bytes ? { body: bytes.toString('base64'), isBase64Encoded: true } : value;
}

function statusOf(response) {
    const given =
        response.statusCode ||
        (typeof response.status === 'function' ? undefined : response.status);
    if (given === undefined || given === null || given === '') {
        return 200;
    }
    const status = Number(given);
    if (!Number.isInteger(status) || status < 100 || status > 999) {
        throw new TypeError(
            `The HTTP response's status must be a number from 100 to 999, not ${String(given)}.`,
        );
    }
    return status;
}

function headersOf(response) {
    const headers = {};
    for (const [name, value] of Object.entries(response.headers || {})) {
        if (value !== null && value !== undefined) {
            headers[name.toLowerCase()] = String(value);
        }
    }
    return headers;
}

/* A Set-Cookie value (RFC 6265) from {name, value, maxAge, ...}. */
function cookieText(cookie) {
    if (cookie === null || typeof cookie !== 'object' || typeof cookie.name !== 'string') {
        throw new TypeError(
            'A cookie of the HTTP response must be an object with a name and a value.',
        );
    }
    const text = cookie.value === undefined ? '' : String(cookie.value);
    const parts = [`${cookie.name}=${encodeURIComponent(text)}`];
    const add = (name, value) =>
        value !== undefined && value !== null && parts.push(`${name}=${value}`);
    add('Max-Age', cookie.maxAge);
    if (cookie.expires !== undefined && cookie.expires !== null) {
        add('Expires', new Date(cookie.expires).toUTCString());
    }
    add('Domain', cookie.domain);
    add('Path', cookie.path);
    if (cookie.secure) {
        parts.push('Secure');
    }
    if (cookie.httpOnly) {
        parts.push('HttpOnly');
    }
    add('SameSite', cookie.sameSite);
    return parts.join('; ');
}

const RESPONSE_MEMBERS = [
    'status',
    'statusCode',
    'headers',
    'body',
    'cookies',
    'isRaw',
    'enableContentNegotiation',
];

function looksLikeResponse(value) {
    return (
        value !== null &&
        typeof value === 'object' &&
        !Array.isArray(value) &&
        (Object.keys(value).length === 0 || RESPONSE_MEMBERS.some((name) => name in value))
    );
}

function httpResult(value) {
    if (value === undefined) {
        return { status: 204, headers: {}, body: null };
    }
    if (typeof value !== 'object' || Array.isArray(value)) {
        const kind = Array.isArray(value) ? 'an array' : `a ${typeof value}`;
        throw new TypeError(
            "The HTTP response must be an 'object' type that can include properties such as " +
                `'body', 'status', and 'headers', not ${kind}. ` +
                'Return { body: ... }.',
        );
    }
    // An object with nothing of a response in it is itself the body.
    const response = value === null ? {} : looksLikeResponse(value) ? value : { body: value };
    const headers = headersOf(response);
    const bytes = bytesOf(response.body);
    const hasBody = response.body !== undefined && response.body !== null;
    const result = { status: statusOf(response), headers, body: hasBody ? response.body : null };
    if (bytes) {
        result.body = bytes.toString('base64');
        result.isBase64Encoded = true;
    }
    if (hasBody && headers['content-type'] === undefined) {
        const kinds = {
            string: 'text/plain; charset=utf-8',
            object: 'application/json; charset=utf-8',
        };
        headers['content-type'] = bytes
            ? 'application/octet-stream'
            : kinds[typeof response.body] || kinds.object;
    }
    if (Array.isArray(response.cookies) && response.cookies.length > 0) {
        result.cookies = response.cookies.map(cookieText);
    }
    return result;
}

/* The value of each output binding, the returned one before context.bindings. */
function collect(context, plan, returned) {
    const values = {};
    const hasReturn = plan.outputs.some((binding) => binding.name === '$return');
    const byName = !hasReturn && returned !== null && typeof returned === 'object' ? returned : {};
    for (const { name } of plan.outputs) {
        const value = byName[name] !== undefined ? byName[name] : context.bindings[name];
        if (value !== undefined) {
            values[name] = value;
        }
    }
    if (hasReturn && returned) {
        values.$return = returned;
    }
    return values;
}

function httpAnswer(context, plan, returned, values) {
    const { isUntouched } = require('./azure_http.js');
    const output = plan.outputs.find((binding) => binding.type === 'http');
    let response = output ? values[output.name] : undefined;
    const { res } = context;
    if (response === undefined && output && res !== undefined && !isUntouched(res)) {
        response = res;
    }
    if (
        response === undefined &&
        output &&
        output.name !== '$return' &&
        looksLikeResponse(returned)
    ) {
        log.line(
            'WARN',
            `function.json names its http output '${output.name}', so Azure would drop this ` +
                `return value; name it $return, or return { ${output.name}: ... }.`,
        );
        response = returned;
    }
    const result = httpResult(response);
    const others = Object.keys(values).filter((name) => !output || name !== output.name);
    if (others.length > 0) {
        result.outputs = Object.fromEntries(
            others.map((name) => [name, outputValue(values[name])]),
        );
    }
    return result;
}

/* The result. returned: the return value, or the second argument of context.done. */
function makeResult(context, plan, returned) {
    const values = collect(context, plan, returned);
    if (plan.trigger.type === 'httpTrigger') {
        return httpAnswer(context, plan, returned, values);
    }
    const names = Object.keys(values).filter((name) => name !== '$return');
    const outputs = Object.fromEntries(names.map((name) => [name, outputValue(values[name])]));
    let value = values.$return;
    if (value === undefined && returned && names.every((name) => values[name] !== returned[name])) {
        value = returned; // matches no output: it is the function's own result
    }
    if (value === undefined || value === null) {
        return { outputs };
    }
    return names.length === 0 ? outputValue(value) : { outputs, $return: outputValue(value) };
}

module.exports = { makeResult };
