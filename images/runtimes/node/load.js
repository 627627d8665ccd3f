// Finds and loads the function's module, CommonJS or ES, and words what can go
// wrong so that it says what to do. Paths are resolved from the function's folder,
// so what is vendored in its node_modules wins over the machine's.
'use strict';

const fs = require('fs');
const path = require('path');

const root = path.resolve(process.env.LAMBDA_TASK_ROOT || process.cwd());

function isFile(name) {
    const stat = fs.statSync(name, { throwIfNoEntry: false });
    return stat !== undefined && stat.isFile();
}

/* A path as users know it: relative to their folder. */
function shown(name) {
    const inside = path.relative(root, name);
    return inside === '' || inside.startsWith('..') ? name : inside;
}

/* Parses a JSON file of the function, or returns undefined where there is none. */
function readJson(name) {
    let text;
    try {
        text = fs.readFileSync(name, 'utf8');
    } catch (error) {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') {
            return undefined;
        }
        throw error;
    }
    return JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
}

/* Whether .js files in a folder are ES modules: the nearest package.json decides. */
function isModuleFolder(folder) {
    for (;;) {
        if (folder.endsWith('/node_modules')) {
            return false;
        }
        const name = path.join(folder, 'package.json');
        if (fs.existsSync(name)) {
            try {
                return readJson(name).type === 'module';
            } catch (error) {
                return false; // node itself says what is wrong with it
            }
        }
        if (folder === '/') {
            return false;
        }
        folder = path.dirname(folder);
    }
}

/* Loads a file as what its name and package.json say. Returns its exports, or a
 * promise of them for an ES module. Errors come worded by explain(). */
function loadFile(name) {
    const asModule =
        name.endsWith('.mjs') || (name.endsWith('.js') && isModuleFolder(path.dirname(name)));
    if (asModule) {
        const { href } = require('url').pathToFileURL(name);
        return import(href).catch((error) => {
            throw explain(error, name);
        });
    }
    try {
        return require(name);
    } catch (error) {
        throw explain(error, name);
    }
}

/* The file that `module` of a handler string names, relative to the folder, in
 * Lambda's order: as given, .js, .mjs, .cjs, then as node would find it. */
function findModule(module) {
    const base = path.resolve(root, module);
    for (const extension of ['', '.js', '.mjs', '.cjs']) {
        if (isFile(base + extension)) {
            return base + extension;
        }
    }
    try {
        // A folder with an index.js, or a package of node_modules.
        return require.resolve(base);
    } catch (error) {
        try {
            return require('module').createRequire(`${root}/`).resolve(module);
        } catch (problem) {
            return undefined;
        }
    }
}

/* The function's own script files, for messages. */
function scripts() {
    try {
        return fs
            .readdirSync(root)
            .filter((name) => /\.[cm]?js$/.test(name))
            .sort();
    } catch (error) {
        return [];
    }
}

function packageName(specifier) {
    return specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/');
}

function missing(error) {
    const text = String(error.message);
    const what = (/^Cannot find (?:module|package) '([^']*)'/.exec(text) || [])[1];
    if (what === undefined) {
        return text.split('\n')[0];
    }
    const importer = (/ imported from (\S.*)$/m.exec(text) || [])[1];
    const by = importer || (Array.isArray(error.requireStack) ? error.requireStack[0] : undefined);
    const wanted = by ? ` (wanted by ${shown(by.replace(/^file:\/\//, ''))})` : '';
    if (path.isAbsolute(what) && what.includes('/node_modules/')) {
        const name = packageName(what.slice(what.lastIndexOf('/node_modules/') + 14));
        return (
            `Cannot find '${shown(what)}'${wanted}: the package '${name}' is not whole. ` +
            `Add it again in the function's folder: npm install --prefix . ${name}`
        );
    }
    if (path.isAbsolute(what) || what.startsWith('.')) {
        const base = path.resolve(by ? path.dirname(by.replace(/^file:\/\//, '')) : root, what);
        const found = ['.js', '.mjs', '.cjs', '/index.js'].find((end) => isFile(base + end));
        const hint = found
            ? `import needs the whole name there: ${path.basename(base)}${found}`
            : "there is no such file in the function's folder, which is all that it can see";
        const said = path.isAbsolute(what) ? shown(what) : what;
        return `Cannot find module '${said}'${wanted}: ${hint}.`;
    }
    const name = packageName(what);
    return (
        `Cannot find package '${what}'${wanted}. ` +
        `Add it in the function's folder: npm install --prefix . ${name}`
    );
}

/* " at index.mjs:3" for a syntax error, or "". A require says it in the stack's
 * first line; for an ES module node keeps it to itself, so ask node --check. */
function whereSyntax(error, name) {
    const place = /^(?:file:\/\/)?(\/.*:\d+)$/m;
    let match = place.exec(String(error.stack).split('\n    at ')[0]);
    if (!match && /node:internal\/modules\/esm/.test(String(error.stack))) {
        const { spawnSync } = require('child_process');
        const check = spawnSync(process.execPath, ['--check', name], {
            encoding: 'utf8',
            stdio: ['ignore', 'ignore', 'pipe'],
            timeout: 3000,
        });
        match = place.exec(check.stderr || '');
    }
    return match ? ` at ${shown(match[1])}` : '';
}

/* An error of loading `name` as the error to report. */
function explain(error, name) {
    const { RuntimeError } = require('./errors.js');
    if (error instanceof SyntaxError) {
        let text = `SyntaxError: ${error.message}${whereSyntax(error, name)}`;
        if (/Cannot use import statement|Unexpected token 'export'/.test(error.message)) {
            text +=
                '. This is an ES module: name the file .mjs, ' +
                'or put "type": "module" in package.json';
        }
        return new RuntimeError('UserCodeSyntaxError', text, error);
    }
    const code = error !== null && typeof error === 'object' ? error.code : undefined;
    if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') {
        return new RuntimeError('ImportModuleError', missing(error), error);
    }
    if (code === 'ERR_UNKNOWN_BUILTIN_MODULE') {
        return new RuntimeError(
            'ImportModuleError',
            `${error.message}: node ${process.version} of this machine does not have it.`,
            error,
        );
    }
    return error;
}

/* The version of @azure/functions that package.json asks for (its first number),
 * or 0. From 4 on, functions register themselves by app.http(...) and the like. */
function azureLibraryMajor() {
    let found;
    try {
        const { dependencies } = readJson(path.join(root, 'package.json')) || {};
        found = dependencies && dependencies['@azure/functions'];
    } catch (error) {
        return 0;
    }
    if (typeof found !== 'string') {
        return 0;
    }
    const number = /\d+/.exec(found);
    return number ? Number(number[0]) : Infinity; // "latest", "preview"
}
const AZURE_V4 =
    'the v4 model is not supported yet; use the v3 model: a function.json and `module.exports = ' +
    'async function (context, req) {...}`, without @azure/functions 4 in package.json';

module.exports = {
    root,
    shown,
    isFile,
    readJson,
    loadFile,
    findModule,
    scripts,
    azureLibraryMajor,
    AZURE_V4,
};
