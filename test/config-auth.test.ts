import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse, stringify } from "yaml";
import * as z from "zod";
import { parseYamlConfig } from "../lib/config/yaml.ts";
import { parseConfig } from "../lib/config.ts";
import { parseKeySet } from "../lib/wire/jwks.ts";

const GIVEN = {
  issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/AB12",
  audience: "https://hook.example",
  subject: "system:serviceaccount:kube-allowlist:forwarder",
  jwks: "discover",
};

function fileWith(auths: Readonly<Record<string, unknown>>) {
  const clusters = Object.entries(auths).map(([name, serviceAccount]) => [
    name,
    { auth: { serviceAccount }, bounds: ["10.0.0.0/8"] },
  ]);
  return {
    version: 1,
    installation: "acme",
    store: { kind: "memory" },
    clusters: Object.fromEntries(clusters),
    lists: {},
  };
}

function authOf(change: object) {
  const reading = parseConfig(fileWith({ east: { ...GIVEN, ...change } }));
  assert(reading.kind === "parsed", JSON.stringify(reading));
  return reading.config.auth.east?.serviceAccount;
}

function problemsOf(auths: Readonly<Record<string, unknown>>): readonly string[] {
  const reading = parseConfig(fileWith(auths));
  assert(reading.kind === "invalid", JSON.stringify(auths));
  return reading.problems.map(({ path, message }) => `${path}: ${message}`);
}

/** The one problem that this change of a good cluster makes. */
function problemWith(change: object): string {
  const [problem = "", ...others] = problemsOf({ east: { ...GIVEN, ...change } });
  assert.deepEqual(others, []);
  return problem;
}

const AT = "clusters.east.auth.serviceAccount";

test("parseConfig() reads who may speak for a cluster, and where the keys come from", () => {
  const { jwks, ...rule } = GIVEN;
  assert.deepEqual(authOf({}), { ...rule, keys: { kind: "discover" } });
  for (const reference of ["file:keys/east.jwks.json", "env:EAST_JWKS"]) {
    const keys = { kind: "reference", reference };
    assert.deepEqual(authOf({ jwks: reference }), { ...rule, keys });
  }
  const set = { issuer: GIVEN.issuer, keys: [{ kty: "RSA", n: "AQAB", e: "AQAB" }] };
  const keys = authOf({ jwks: set })?.keys;
  assert(keys?.kind === "inline");
  assert.deepEqual(JSON.parse(keys.text), set);
});

test("parseConfig() takes any issuer whose keys are pinned, and only one of the internet for discovery", () => {
  for (const issuer of ["https://kubernetes.default.svc.cluster.local", "http://10.0.0.1", "own"]) {
    assert.equal(authOf({ issuer, jwks: "file:a" })?.issuer, issuer);
  }
  for (const issuer of ["http://issuer.example", "own", "https://user:canary@issuer.example"]) {
    const problem = problemWith({ issuer });
    assert(problem.startsWith(`${AT}.issuer: Cannot discover the keys of this issuer`), problem);
    assert(!problem.includes("canary"));
  }
});

test("parseConfig() refuses audiences whose tokens open the API server or a cloud account", () => {
  for (const audience of [
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
    "sts.amazonaws.com",
    "sts.aliyuncs.com",
    GIVEN.issuer,
  ]) {
    const problem = problemWith({ audience });
    assert(problem.startsWith(`${AT}.audience: Cannot use this audience`), problem);
    assert.match(problem, /write the receiver's own URL/);
  }
});

test("parseConfig() refuses what no subject, issuer, audience or key set is like", () => {
  for (const subject of ["forwarder", "system:node:a", "system:serviceaccount:a", "", "*", 1]) {
    assert(problemWith({ subject }).startsWith(`${AT}.subject: `));
  }
  for (const text of ["", " ", "a b", "\u00e9", "x".repeat(1_025), null, undefined]) {
    assert(problemsOf({ east: { ...GIVEN, issuer: text } })[0]?.startsWith(`${AT}.issuer: `));
    assert(problemsOf({ east: { ...GIVEN, audience: text } })[0]?.startsWith(`${AT}.audience: `));
  }
  for (const jwks of ["discovered", "https://x.example", "", undefined, [], {}, { keys: [] }]) {
    const [problem = ""] = problemsOf({ east: { ...GIVEN, jwks } });
    assert(problem.startsWith(`${AT}.jwks`), `${JSON.stringify(jwks)} ${problem}`);
  }
  assert.match(problemWith({ keys: 1 }), /serviceAccount\.keys: Cannot use key "keys"/);
});

const PINNED = { ...GIVEN, jwks: "file:a" };
const OTHER_AUDIENCE = { audience: "https://hook.example/west" };

test("parseConfig() refuses two clusters whose tokens could not be told apart", () => {
  assert.deepEqual(problemsOf({ east: PINNED, west: { ...PINNED, jwks: "file:b" } }), [
    'clusters.west.auth.serviceAccount: Cannot tell clusters "east" and "west" apart: issuer, ' +
      "audience and subject are the same; give each its own issuer or subject, or its own " +
      "audience where their keys differ",
  ]);
  for (const change of [
    OTHER_AUDIENCE,
    { subject: "system:serviceaccount:west:forwarder" },
    { issuer: `${GIVEN.issuer}/` },
  ]) {
    const west = { ...PINNED, jwks: "file:b", ...change };
    assert.equal(parseConfig(fileWith({ east: PINNED, west })).kind, "parsed");
  }
});

test("parseConfig() tells two clusters of one discovered issuer apart by their subjects, never by an audience", () => {
  for (const [east, west] of [
    [GIVEN, { ...GIVEN, ...OTHER_AUDIENCE }],
    [PINNED, { ...GIVEN, ...OTHER_AUDIENCE }],
    [GIVEN, { ...PINNED, ...OTHER_AUDIENCE }],
    [GIVEN, GIVEN],
  ]) {
    const between = { ...GIVEN, issuer: "https://other.example" };
    assert.deepEqual(problemsOf({ east, between, west }), [
      'clusters.west.auth.serviceAccount: Cannot tell clusters "east" and "west" apart: one key ' +
        "signs for the same subject in both, and whoever asks for a token chooses its audience; " +
        "give each cluster its own issuer with its own keys, or each forwarder its own subject",
    ]);
  }
  for (const change of [
    { subject: "system:serviceaccount:west:forwarder" },
    { issuer: `${GIVEN.issuer}/` },
  ]) {
    const reading = parseConfig(fileWith({ east: GIVEN, west: { ...GIVEN, ...change } }));
    assert.equal(reading.kind, "parsed");
  }
});

test("parseYamlConfig() reads both methods of one cluster", () => {
  const reading = parseYamlConfig(`
version: 1
installation: acme
store: { kind: memory }
clusters:
  east:
    auth:
      serviceAccount:
        issuer: https://oidc.example/id/1
        audience: https://hook.example
        subject: system:serviceaccount:kube-allowlist:forwarder
        jwks: discover
      signature: { keys: ["env:EAST"] }
    bounds: [10.0.0.0/8]
lists: {}
`);
  assert(reading.kind === "parsed", JSON.stringify(reading));
  assert.deepEqual(reading.config.auth.east?.signature, { keys: ["env:EAST"] });
  assert.equal(reading.config.auth.east?.serviceAccount?.keys.kind, "discover");
});

/** The YAML of docs/authentication.md, parsed, by how it begins. */
function documented(beginning: string): readonly Readonly<Record<string, unknown>>[] {
  const page = readFileSync(new URL("../docs/authentication.md", import.meta.url), "utf8");
  const fences = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].flatMap(([, text]) => text ?? []);
  const found = fences.filter((text) => text.startsWith(beginning));
  assert(found.length > 0, beginning);
  return found.map((text) => parse(text));
}

test("docs/authentication.md shows configurations that the parser and the schema for editors take", () => {
  const editors = readFileSync(new URL("../schema/allowlist.schema.json", import.meta.url), "utf8");
  const schema = z.fromJSONSchema(JSON.parse(editors));
  const [whole = {}, ...others] = documented("version:");
  assert.deepEqual(others, []);
  const parts = documented("auth:");
  assert.equal(parts.length, 4);
  const clusters = whole.clusters as Readonly<Record<string, object>>;
  const files = parts.map((part) => ({
    ...whole,
    clusters: { ...clusters, "prod-eu": { ...clusters["prod-eu"], ...part } },
  }));
  for (const file of [whole, ...files]) {
    const reading = parseYamlConfig(stringify(file));
    assert(reading.kind === "parsed", JSON.stringify(reading));
    assert(schema.safeParse(file).success);
    const keys = reading.config.auth["prod-eu"]?.serviceAccount?.keys;
    if (keys?.kind === "inline") assert.equal(parseKeySet(keys.text).keys.length, 1);
  }
});

test("docs/authentication.md asks the kubelet for a token that its configuration takes", () => {
  const [pod] = documented("apiVersion:");
  const [whole] = documented("version:");
  const shape = z.object({
    metadata: z.object({ namespace: z.string() }),
    spec: z.object({
      serviceAccountName: z.string(),
      containers: z.tuple([
        z.object({
          env: z.array(z.object({ name: z.string(), value: z.string() })),
          volumeMounts: z.tuple([z.object({ mountPath: z.string() })]),
        }),
      ]),
      volumes: z.tuple([
        z.object({
          projected: z.object({
            sources: z.tuple([
              z.object({
                serviceAccountToken: z.object({
                  audience: z.string(),
                  expirationSeconds: z.int().min(600),
                  path: z.string(),
                }),
              }),
            ]),
          }),
        }),
      ]),
    }),
  });
  const { metadata, spec } = shape.parse(pod);
  const { audience, path } = spec.volumes[0].projected.sources[0].serviceAccountToken;
  const [{ env, volumeMounts }] = spec.containers;
  const reading = parseYamlConfig(stringify(whole));
  assert(reading.kind === "parsed");
  const rule = reading.config.auth["prod-eu"]?.serviceAccount;
  assert.equal(audience, rule?.audience);
  const account = `${metadata.namespace}:${spec.serviceAccountName}`;
  assert.equal(rule?.subject, `system:serviceaccount:${account}`);
  const file = env.find(({ name }) => name === "KUBE_ALLOWLIST_TOKEN_FILE")?.value;
  assert.equal(file, `${volumeMounts[0].mountPath}/${path}`);
});
