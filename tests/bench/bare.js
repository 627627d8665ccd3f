// The handler of examples/hello-node without fnrun.
const path = require('path');
const { handler } = require(path.join(process.argv[2], 'index.js'));
Promise.resolve(handler(JSON.parse(process.argv[3]), {})).then((result) => console.log(JSON.stringify(result)));
