// The request and response objects of an httpTrigger function.
'use strict';

const REQUEST_MEMBERS = ['method', 'query', 'headers', 'body'];

function isObject(value) {
    return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function textValue(value) {
    if (value === null || value === undefined) {
        return '';
    }
    return Array.isArray(value) ? value.map(textValue).join(',') : String(value);
}

/* What the event says of the request. An object with one of REQUEST_MEMBERS is the
 * request; anything else is the body of a POST, {} a GET without one. */
function describeRequest(value, text, trigger) {
    if (isObject(value) && REQUEST_MEMBERS.some((name) => Object.hasOwn(value, name))) {
        return { ...value };
    }
    if (isObject(value) && Object.keys(value).length === 0) {
        return { method: defaultMethod('GET', trigger) };
    }
    return { method: defaultMethod('POST', trigger), body: value, bodyText: text };
}

/* method, unless function.json allows only others. */
function defaultMethod(method, trigger) {
    const allowed = Array.isArray(trigger.methods)
        ? trigger.methods.map((m) => String(m).toUpperCase())
        : [];
    return allowed.length === 0 || allowed.includes(method) ? method : allowed[0];
}

function bodyBytes(request) {
    const { body } = request;
    if (request.bodyText !== undefined) {
        return Buffer.from(request.bodyText);
    }
    if (body === undefined || body === null) {
        return Buffer.alloc(0);
    }
    if (typeof body === 'string') {
        return Buffer.from(body, request.isBase64Encoded === true ? 'base64' : 'utf8');
    }
    return Buffer.from(JSON.stringify(body));
}

function queryObject(query, address) {
    if (isObject(query)) {
        return Object.fromEntries(
            Object.entries(query).map(([key, value]) => [key, textValue(value)]),
        );
    }
    return Object.fromEntries(
        typeof query === 'string' ? new URLSearchParams(query) : address.searchParams,
    );
}

/* The values of a route such as items/{id:int?}/{*rest} in a path, or {}. */
function routeParameters(route, pathname) {
    if (typeof route !== 'string') {
        return {};
    }
    const parts = pathname.split('/').filter(Boolean);
    const wanted = route.split('/').filter(Boolean);
    const values = {};
    // The route prefix (api) stands before it.
    const from = parts[0] === 'api' ? 1 : 0;
    for (let i = 0; i < wanted.length; i++) {
        const match = /^\{(\*{0,2})([^}:?=]+)[^}]*\}$/.exec(wanted[i]);
        if (!match) {
            if (wanted[i].toLowerCase() !== String(parts[from + i]).toLowerCase()) {
                return {};
            }
        } else if (match[1]) {
            values[match[2]] = parts
                .slice(from + i)
                .map(decodeURIComponent)
                .join('/');
        } else if (parts[from + i] !== undefined) {
            values[match[2]] = decodeURIComponent(parts[from + i]);
        }
    }
    return values;
}

class Request {
    get(name) {
        return this.headers[String(name).toLowerCase()];
    }

    get user() {
        const encoded = this.headers['x-ms-client-principal'];
        if (!encoded) {
            return null;
        }
        const data = JSON.parse(Buffer.from(encoded, 'base64').toString());
        const common = { claimsPrincipalData: data };
        if (data.identityProvider) {
            const { userId: id, userDetails: username, identityProvider } = data;
            return { type: 'StaticWebApps', id, username, identityProvider, ...common };
        }
        return {
            type: 'AppService',
            id: this.headers['x-ms-client-principal-id'],
            username: this.headers['x-ms-client-principal-name'],
            identityProvider: this.headers['x-ms-client-principal-idp'],
            ...common,
        };
    }

    parseFormBody() {
        return require('./azure_form.js').parseForm(this.body, this.get('content-type'));
    }
}

/* body, rawBody and bufferBody as Azure gives them: text is parsed when it parses,
 * whatever its type; octet streams and multipart bodies stay bytes. */
function setBody(request, bytes) {
    if (bytes.length === 0) {
        return;
    }
    request.bufferBody = bytes;
    const type = (request.get('content-type') || '').toLowerCase();
    if (type === 'application/octet-stream' || type.startsWith('multipart/')) {
        request.body = bytes;
        request.rawBody = bytes.toString();
        return;
    }
    const text = bytes.toString().replace(/^\ufeff/, '');
    request.rawBody = text;
    try {
        request.body = JSON.parse(text);
    } catch (error) {
        request.body = text;
    }
}

/* The req of an event. value: the event, text: its JSON, name: the function's. */
function makeRequest(value, text, trigger, name) {
    const described = describeRequest(value, text, trigger);
    const bytes = bodyBytes(described);
    const headers = {};
    for (const [key, header] of Object.entries(
        isObject(described.headers) ? described.headers : {},
    )) {
        headers[key.toLowerCase()] = textValue(header);
    }
    const isText = typeof described.body === 'string' && described.bodyText === undefined;
    if (bytes.length > 0 && !isText && !headers['content-type']) {
        headers['content-type'] = 'application/json';
    }
    const given = described.url || described.originalUrl;
    const base = `http://${headers.host || 'localhost'}`;
    let address;
    try {
        address = new URL(
            typeof given === 'string' ? given : `/api/${encodeURIComponent(name)}`,
            base,
        );
    } catch (error) {
        throw new TypeError(`The event's url is not one: ${given}`);
    }
    const query = queryObject(described.query, address);
    if (!address.search && Object.keys(query).length > 0) {
        address.search = new URLSearchParams(query).toString();
    }

    const request = new Request();
    const assumed = defaultMethod(bytes.length > 0 ? 'POST' : 'GET', trigger);
    request.method = String(described.method || assumed).toUpperCase();
    request.url = address.href;
    request.originalUrl = address.href;
    request.headers = headers;
    request.query = query;
    request.params = isObject(described.params)
        ? { ...described.params }
        : routeParameters(given ? trigger.route : undefined, address.pathname);
    setBody(request, bytes);
    return request;
}

/* context.res as long as the function does not assign another: like express. */
class Response {
    constructor(done) {
        this.headers = {};
        this.cookies = [];
        Object.defineProperty(this, '_done', { value: done });
        Object.defineProperty(this, '_ended', { value: false, writable: true });
        // Own and hidden: functions hand on `context.res` as { ...context.res }.
        for (const [name, method] of [
            ['send', this.end],
            ['header', this.setHeader],
            ['set', this.setHeader],
            ['get', this.getHeader],
        ]) {
            Object.defineProperty(this, name, {
                value: method,
                writable: true,
                configurable: true,
            });
        }
    }

    end(body) {
        if (body !== undefined) {
            this.body = body;
        }
        this._ended = true;
        this._done();
        return this;
    }

    setHeader(name, value) {
        this.headers[String(name).toLowerCase()] = value;
        return this;
    }

    getHeader(name) {
        return this.headers[String(name).toLowerCase()];
    }

    removeHeader(name) {
        delete this.headers[String(name).toLowerCase()];
        return this;
    }

    status(code) {
        this.statusCode = code;
        return this;
    }

    sendStatus(code) {
        return this.status(code).end();
    }

    type(type) {
        return this.setHeader('content-type', type);
    }

    json(body) {
        this.type('application/json');
        this.end(body);
    }
}

/* Whether nobody has touched it: then there is no response. */
function isUntouched(response) {
    return (
        response instanceof Response &&
        !response._ended &&
        typeof response.status === 'function' &&
        response.statusCode === undefined &&
        response.body === undefined &&
        Object.keys(response.headers).length === 0 &&
        response.cookies.length === 0
    );
}

module.exports = { makeRequest, Response, isUntouched };
