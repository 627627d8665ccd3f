// An Azure function (JavaScript, v3 model). On the shell the event is the request's
// body, or the request itself when it has a method, query, headers or body:
//   fnrun invoke examples/hello-azure --event '{"name":"Ada"}'
//   fnrun invoke examples/hello-azure --event '{"query":{"name":"Ada"}}'
'use strict';

module.exports = async function (context, req) {
    const name = req.query.name || (req.body && req.body.name);
    context.log('greeting', name || 'nobody');
    if (!name) {
        context.res = { status: 400, body: 'Who is there? Send a name in the query or the body.' };
        return;
    }
    context.res = {
        headers: { 'Content-Type': 'application/json' },
        body: { message: `Hello, ${name}!` },
    };
};
