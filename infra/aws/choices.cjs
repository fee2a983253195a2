"use strict";

/*
 * For osls: whether the choices of a deployment, and the package, can be what somebody wants. osls
 * itself takes every name and every value of --param, and says of a file that is missing only that
 * it cannot resolve a variable.
 */

const existsSync = require("node:fs").existsSync;
const readFileSync = require("node:fs").readFileSync;
const path = require("node:path");

const PACKAGE = path.join(__dirname, "..", "..", "dist", "package");

const ALLOWED = {
  alarmTopic: { pattern: /^(arn:[a-z-]+:sns:.+)?$/, words: "the ARN of a topic of SNS" },
  bucket: { pattern: /^(create|existing)$/, words: "create or existing" },
  concurrency: { pattern: /^(0|[2-9]|[1-9][0-9]{1,4})$/, words: "0 or at least 2" },
  entry: { pattern: /^(http|url)$/, words: "http or url" },
  logLevel: { pattern: /^(debug|info|warn|error)$/, words: "debug, info, warn or error" },
};

module.exports = async function choices({ options, resolveVariable }) {
  const problems = [...packageProblems(options.region ?? null), ...unknownChoices(options.param)];
  for (const name of Object.keys(ALLOWED)) {
    const value = String(await resolveVariable(`param:${name}`));
    if (ALLOWED[name].pattern.test(value)) continue;
    problems.push(`Cannot use ${name}=${value}: write ${ALLOWED[name].words}`);
  }
  // A text, since osls prints the stack of whatever has one.
  if (problems.length > 0) throw problems.join("\n");
  return {};
};

function packageProblems(region) {
  const file = path.join(PACKAGE, "serverless.json");
  if (!existsSync(file)) {
    return existsSync(path.join(PACKAGE, "iam.json"))
      ? ["Cannot deploy the package to AWS: its store is not in S3; package another configuration"]
      : ['Cannot deploy: dist/package is empty; run "npm run package" first'];
  }
  const own = JSON.parse(readFileSync(file, "utf8")).region ?? null;
  if (own === null && region === null) {
    return ["Cannot tell where to deploy: name the bucket's region with --region"];
  }
  if (own === null || region === null || region === own) return [];
  return [
    `Cannot deploy to ${region}: the package is for ${own}, as its bucket is; leave out --region`,
  ];
}

/** What each --param names, of which osls takes a misspelt one without a word. */
function unknownChoices(given) {
  const known = [...Object.keys(ALLOWED), "retention"];
  const names = [given ?? []].flat().map((text) => text.split("=")[0]);
  const unknown = names.filter((name) => !known.includes(name));
  return unknown.map((name) => `Cannot use ${name}: the choices are ${known.sort().join(", ")}`);
}
