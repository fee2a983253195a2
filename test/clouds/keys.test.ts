import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { listen } from "../../cli/embedded/listening.ts";
import { openOss } from "../../lib/clouds/oss.ts";
import { openS3 } from "../../lib/clouds/s3.ts";
import { bucketWorld } from "../stores/buckets.ts";

const NOW = Date.parse("2026-11-20T21:00:00Z");
const { signal } = new AbortController();
const TIMEOUT = { timeout: 30_000 };

/** Whose keys each request for an object was signed with, and what they are answered. */
function listener(status: () => number, expiresAt: string) {
  const ids: string[] = [];
  let sessions = 0;
  const server = createServer((request, response) => {
    const { authorization = "" } = request.headers;
    const id = /Credential=([^/]+)\//.exec(authorization)?.[1];
    if (request.method === "POST") {
      sessions += 1;
      const names = request.headers["user-agent"]?.includes("aws-sdk")
        ? `<AssumeRoleResponse><AssumeRoleResult><Credentials>
             <AccessKeyId>session-${sessions}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
             <SessionToken>t</SessionToken><Expiration>${expiresAt}</Expiration>
           </Credentials></AssumeRoleResult></AssumeRoleResponse>`
        : JSON.stringify({
            Credentials: {
              AccessKeyId: `session-${sessions}`,
              AccessKeySecret: "s",
              SecurityToken: "t",
              Expiration: expiresAt,
            },
          });
      request.resume();
      response.end(names);
      return;
    }
    ids.push(id ?? "");
    const code = status() === 200 ? "" : "<Error><Code>InvalidAccessKeyId</Code></Error>";
    response.writeHead(status()).end(code);
  });
  return { server, ids };
}

for (const vendor of ["s3", "oss"] as const) {
  const open = (endpoint: string, role: object | null, env: Record<string, string | undefined>) => {
    const place = { bucket: "acme", region: "eu-west-1", endpoint, stsEndpoint: endpoint };
    const context = { world: bucketWorld(() => NOW), env };
    const given = role as { readonly arn: string } | null;
    return vendor === "s3"
      ? openS3({ ...place, role: given }, context)
      : openOss({ ...place, role: given, credentials: null }, context);
  };
  const keysOf = (id: string) => ({
    AWS_ACCESS_KEY_ID: id,
    AWS_SECRET_ACCESS_KEY: "s",
    ALIBABA_CLOUD_ACCESS_KEY_ID: id,
    ALIBABA_CLOUD_ACCESS_KEY_SECRET: "s",
  });

  test(
    `${vendor}: the environment's keys are read at every call, and never kept`,
    TIMEOUT,
    async (context) => {
      const { server, ids } = listener(() => 200, "2026-11-20T22:00:00Z");
      const { url, close } = await listen(server, {});
      context.after(close);
      const env: Record<string, string | undefined> = keysOf("first");
      const bucket = open(url, null, env);
      await bucket.get("v1/a", signal);
      Object.assign(env, keysOf("second"));
      await bucket.get("v1/a", signal);
      assert.deepEqual(ids, ["first", "second"]);
    },
  );

  test(
    `${vendor}: a role is assumed once, and once more when its keys were refused`,
    TIMEOUT,
    async (context) => {
      let status = 200;
      const { server, ids } = listener(() => status, "2026-11-20T22:00:00Z");
      const { url, close } = await listen(server, {});
      context.after(close);
      const role = {
        s3: { arn: "arn:aws:iam::123456789012:role/allowlist" },
        oss: { arn: "acs:ram::1234567890123456:role/allowlist" },
      };
      const bucket = open(url, role[vendor], keysOf("own"));
      await bucket.get("v1/a", signal);
      await bucket.get("v1/a", signal);
      status = 403;
      await assert.rejects(bucket.get("v1/a", signal), /InvalidAccessKeyId/);
      status = 200;
      await bucket.get("v1/a", signal);
      assert.deepEqual(ids, ["session-1", "session-1", "session-1", "session-2"]);
    },
  );

  test(`${vendor}: a role's keys are exchanged before they end`, TIMEOUT, async (context) => {
    const { server, ids } = listener(() => 200, "2026-11-20T21:04:00Z");
    const { url, close } = await listen(server, {});
    context.after(close);
    const arn = vendor === "s3" ? "arn:aws:iam::1:role/a" : "acs:ram::1:role/a";
    const bucket = open(url, { arn }, keysOf("own"));
    await bucket.get("v1/a", signal);
    await bucket.get("v1/a", signal);
    assert.deepEqual(ids, ["session-1", "session-2"], "they would end within five minutes");
  });
}

test("s3: a named profile comes before keys of the environment", TIMEOUT, async (context) => {
  const { server, ids } = listener(() => 200, "2026-11-20T22:00:00Z");
  const { url, close } = await listen(server, {});
  context.after(close);
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-profile-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "credentials");
  writeFileSync(file, "[named]\naws_access_key_id = profile\naws_secret_access_key = s\n");
  const given = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: file, AWS_PROFILE: "named" };
  const before = { ...process.env };
  context.after(() => {
    for (const name of Object.keys(given)) delete process.env[name];
    Object.assign(process.env, before);
  });
  Object.assign(process.env, given);
  const place = { bucket: "acme", region: "eu-west-1", endpoint: url, stsEndpoint: url };
  const env = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "s", ...given };
  const options = { world: bucketWorld(() => NOW), env };
  await openS3({ ...place, role: null }, options).get("v1/a", signal);
  assert.deepEqual(ids, ["profile"]);
});
