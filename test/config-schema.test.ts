import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import * as z from "zod";
import { parseYamlConfig } from "../lib/config/yaml.ts";
import { ROOT } from "../scripts/bundle.ts";
import { renderConfigSchema } from "../scripts/config-schema.ts";

const committed = readFileSync(join(ROOT, "schema/allowlist.schema.json"), "utf8");
const schema = z.fromJSONSchema(JSON.parse(committed));

const EXAMPLE = `
version: 1
installation: acme
store: { kind: file, path: .kube-allowlist }
clusters:
  prod-eu:
    auth: { signature: { keys: ["env:PROD_EU_WEBHOOK_SECRET"] } }
    bounds: ["203.0.113.0/24", "10.0.0.0/8"]
    maxEntries: 1000
    staleAfter: 15m
lists:
  payments-db:
    from:
      - { cluster: prod-eu, nodes: { pool: payments }, addresses: [ExternalIP] }
      - { static: ["198.51.100.7/32"] }
    removal: { policy: sync, grace: 5m, maxRatio: 0.3, minRemaining: 1 }
    targets:
      - kind: aws/security-group
        region: eu-west-1
        id: sg-0a1b
        permission: { protocol: tcp, port: 5432 }
`;

/**
 * Every configuration in a Markdown document: what stands in a fence marked yaml and begins like
 * one.
 */
function configurationsIn(path: string): readonly string[] {
  const fences = readFileSync(path, "utf8").matchAll(/^```yaml\n(.*?)^```$/gms);
  return [...fences].flatMap(([, text]) =>
    text !== undefined && /^version:/m.test(text) ? [text] : [],
  );
}

test("renderConfigSchema() gives what is committed", () => {
  assert.equal(committed, renderConfigSchema(), 'Out of date: run "npm run schema"');
});

test("schema/allowlist.schema.json accepts what the parser accepts", () => {
  assert.equal(parseYamlConfig(EXAMPLE).kind, "parsed");
  const result = schema.safeParse(parse(EXAMPLE));
  assert(result.success, result.error?.message);
});

test("schema/allowlist.schema.json accepts the examples of the README, as the parser does", () => {
  const examples = configurationsIn(join(ROOT, "README.md"));
  assert(examples.length > 0, "README.md shows no configuration");
  for (const example of examples) {
    const reading = parseYamlConfig(example);
    assert.equal(reading.kind, "parsed", JSON.stringify(reading));
    assert(schema.safeParse(parse(example)).success);
  }
});

test("schema/allowlist.schema.json refuses unknown keys, kinds and names, and missing keys", () => {
  const changes: readonly (readonly [string, string])[] = [
    ["installation: acme", "installation: acme\nretries: 3"],
    ["staleAfter:", "stalAfter:"],
    ["keys:", "key:"],
    ["grace: 5m", "graces: 5m"],
    ["pool: payments }, addresses", "pool: payments }, adresses"],
    ["region: eu-west-1", "region: eu-west-1\n        colour: red"],
    ["aws/security-group", "aws/security-grup"],
    ["port: 5432", "prt: 5432"],
    ["policy: sync, ", ""],
    ["    bounds:", "    # bounds:"],
    ["payments-db:", "Payments:"],
    ["env:PROD_EU_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
  ];
  for (const [from, to] of changes) {
    const text = EXAMPLE.replace(from, to);
    assert.notEqual(text, EXAMPLE, from);
    assert(!schema.safeParse(parse(text)).success, to);
    assert.equal(parseYamlConfig(text).kind, "invalid", to);
  }
});
