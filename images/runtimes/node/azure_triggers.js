// What a function with another trigger than http is given: the event is the value
// of the trigger's binding, and bindingData says what Azure would know of it.
'use strict';

/* Text is parsed when it parses, as Azure does with what comes as a string. */
function parsed(value) {
    if (typeof value !== 'string') {
        return value;
    }
    try {
        return JSON.parse(value);
    } catch (error) {
        return value;
    }
}

function camelCased(value) {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) {
        return value;
    }
    return Object.fromEntries(
        Object.entries(value).map(([key, member]) => [
            key.charAt(0).toLowerCase() + key.slice(1),
            camelCased(member),
        ]),
    );
}

/* A timer's own object; what the event says of it counts. */
function timer(value) {
    const now = new Date().toISOString();
    const made = {
        schedule: { adjustForDST: true },
        scheduleStatus: { last: now, lastUpdated: now, next: now },
        isPastDue: false,
    };
    const given = camelCased(value);
    return given !== null && typeof given === 'object' && !Array.isArray(given)
        ? Object.assign(made, given)
        : made;
}

function queueData(value, id) {
    const now = new Date();
    return {
        queueTrigger: typeof value === 'string' ? value : JSON.stringify(value),
        dequeueCount: 1,
        id,
        insertionTime: now.toISOString(),
        expirationTime: new Date(now.getTime() + 7 * 86400000).toISOString(),
        nextVisibleTime: new Date(now.getTime() + 600000).toISOString(),
        popReceipt: id,
    };
}

/* Bytes come as {"body": base64, "isBase64Encoded": true}, as they go out. */
function content(value, trigger) {
    if (value !== null && typeof value === 'object' && value.isBase64Encoded === true) {
        return Buffer.from(String(value.body), 'base64');
    }
    if (trigger.dataType === 'binary') {
        return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
    }
    return parsed(value);
}

/* Returns {input, data}: the binding's value, and members of context.bindingData. */
function makeInput(value, trigger, id) {
    switch (trigger.type) {
        case 'timerTrigger':
            return { input: timer(value), data: {} };
        case 'queueTrigger':
            return { input: content(value, trigger), data: queueData(value, id) };
        case 'blobTrigger':
            return {
                input: content(value, trigger),
                data: { blobTrigger: trigger.path, properties: {}, metadata: {} },
            };
        default:
            return { input: content(value, trigger), data: {} };
    }
}

module.exports = { makeInput };
