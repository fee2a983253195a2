#!/usr/bin/env node
"use strict";

// Plain CommonJS, so that a Node too old for everything else can still read why it stops.
const existsSync = require("node:fs").existsSync;
const path = require("node:path");

const NODE_MIN = [22, 19];

function isOld(version) {
  const parts = version.split(".").map(Number);
  return parts[0] < NODE_MIN[0] || (parts[0] === NODE_MIN[0] && parts[1] < NODE_MIN[1]);
}

// Node strips no types below node_modules, so what is installed there is the built bundle. A clone
// runs its sources, also when an older bundle lies beside them.
function entry() {
  const source = path.join(__dirname, "main.ts");
  const installed = __dirname.split(path.sep).indexOf("node_modules") >= 0;
  if (!installed && existsSync(source)) return source;
  // The forwarder without flags, as an image runs it, needs none of the rest, which takes as long
  // again to load.
  const forwarder = path.join(__dirname, "..", "dist", "forwarder.cjs");
  const isForward = process.argv.length === 3 && process.argv[2] === "forward";
  if (isForward && existsSync(forwarder)) return forwarder;
  return path.join(__dirname, "..", "dist", "cli.cjs");
}

// Where the user's number has no name, as clusters hand them to containers, and nobody says HOME,
// there is no home at all. AWS' client asks for it before every call, and every call would fail.
function ensureHome() {
  try {
    require("node:os").homedir();
  } catch (_error) {
    process.env.HOME = "/";
  }
}

if (isOld(process.versions.node)) {
  const needed = NODE_MIN.join(".");
  process.stderr.write(
    `Cannot run kube-allowlist: Node ${process.versions.node} is older than ${needed}; ` +
      "update Node, or in a clone use npm or npx, which find Node in node_modules " +
      '(if that one is missing: "npm rebuild node")\n',
  );
  process.exitCode = 2;
} else {
  ensureHome();
  import(require("node:url").pathToFileURL(entry()).href).catch(function fail(error) {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
    process.exitCode = 1;
  });
}
