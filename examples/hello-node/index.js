// A handler as AWS Lambda runs it. Try:
//   fnrun invoke examples/hello-node --event '{"name":"Ada"}'
'use strict';

exports.handler = async (event) => {
    const name = event.name || 'World';
    console.log('greeting', name);
    return { message: `Hello, ${name}!` };
};
