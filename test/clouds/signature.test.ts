import assert from "node:assert/strict";
import { test } from "node:test";
import { ossSigner, ossUrl } from "../../lib/clouds/oss.ts";
import { s3Signer, s3Url } from "../../lib/clouds/s3.ts";

const signal = new AbortController().signal;

// Key, requests and signatures of the examples in "Signature Calculations for the Authorization
// Header: Transferring Payload in a Single Chunk" of the S3 API reference.
const AWS_KEYS = {
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};
const AWS_NOW = Date.UTC(2013, 4, 24);

function awsSigner(keys: object = AWS_KEYS) {
  return s3Signer({ keys: async () => keys as typeof AWS_KEYS, refused() {} }, "us-east-1");
}

function awsRequest(path: string, query: Readonly<Record<string, string>>, headers: object) {
  const url = new URL(`https://examplebucket.s3.amazonaws.com/${path}`);
  const given = headers as Readonly<Record<string, string>>;
  return { method: "GET", url, key: path, query, headers: given, body: "" } as const;
}

test("s3Signer() signs as the vendor's examples do", async () => {
  const signed = await awsSigner().sign(awsRequest("test.txt", {}, { range: "bytes=0-9" }), {
    now: AWS_NOW,
    signal,
  });
  assert.equal(
    signed.authorization,
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
      "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, " +
      "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  );
  const lists = [
    [{ lifecycle: "" }, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"],
    [
      { prefix: "J", "max-keys": "2" },
      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ],
  ] as const;
  for (const [query, signature] of lists) {
    const { authorization } = await awsSigner().sign(awsRequest("", query, {}), {
      now: AWS_NOW,
      signal,
    });
    assert.ok(authorization?.endsWith(`Signature=${signature}`), authorization);
  }
});

test("s3Signer() signs the token of a session", async () => {
  const keys = { ...AWS_KEYS, sessionToken: "token" };
  const signed = await awsSigner(keys).sign(awsRequest("a", {}, {}), { now: AWS_NOW, signal });
  assert.equal(signed["x-amz-security-token"], "token");
  assert.match(signed.authorization ?? "", /;x-amz-security-token,/);
});

// Requests and signatures that the vendor tests its SDK for Go with (alibabacloud-oss-go-sdk-v2).
const OSS_QUERY = {
  param1: "value1",
  "+param1": "value3",
  "|param1": "value4",
  "+param2": "",
  "|param2": "",
  param2: "",
};
const OSS_HEADERS = {
  "x-oss-head1": "value",
  abc: "value",
  xyz: "value",
  "content-type": "text/plain",
};

test("ossSigner() signs as the vendor's own SDK does, with and without a token", async () => {
  const cases = [
    [null, 1_702_743_657, "e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe"],
    ["token", 1_702_784_856, "b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea"],
  ] as const;
  for (const [securityToken, seconds, signature] of cases) {
    const keys = { accessKeyId: "ak", accessKeySecret: "sk", securityToken };
    const place = { bucket: "bucket", region: "cn-hangzhou" };
    const signer = ossSigner({ keys: async () => keys, refused() {} }, place);
    const request = {
      method: "PUT",
      url: new URL("http://bucket.oss-cn-hangzhou.aliyuncs.com"),
      key: "1234%2B-/123/1.txt",
      query: OSS_QUERY,
      headers: OSS_HEADERS,
      body: "",
    } as const;
    const signed = await signer.sign(request, { now: seconds * 1_000, signal });
    assert.ok(signed.authorization?.endsWith(`,Signature=${signature}`), signed.authorization);
    assert.equal(signed["x-oss-security-token"] ?? null, securityToken);
  }
});

test("s3Url() and ossUrl() find the bucket where the vendor serves it", () => {
  const s3 = (bucket: string, region: string, endpoint: string | null = null) =>
    s3Url({ bucket, region, endpoint, stsEndpoint: null, role: null });
  assert.equal(s3("acme", "eu-west-1"), "https://acme.s3.eu-west-1.amazonaws.com");
  assert.equal(s3("acme", "cn-north-1"), "https://acme.s3.cn-north-1.amazonaws.com.cn");
  for (const [region, domain] of [
    ["us-gov-west-1", "amazonaws.com"],
    ["us-iso-east-1", "c2s.ic.gov"],
    ["us-isob-east-1", "sc2s.sgov.gov"],
    ["us-isof-south-1", "csp.hci.ic.gov"],
    ["eu-isoe-west-1", "cloud.adc-e.uk"],
    ["eusc-de-east-1", "amazonaws.eu"],
  ] as const) {
    assert.equal(s3("acme", region), `https://acme.s3.${region}.${domain}`);
  }
  assert.equal(s3("acme.io", "eu-west-1"), "https://s3.eu-west-1.amazonaws.com/acme.io");
  assert.equal(s3("acme", "x", "https://minio.example/s3/"), "https://minio.example/s3/acme");
  const place = { region: "cn-beijing", stsEndpoint: null, role: null, credentials: null };
  const oss = (endpoint: string | null) => ossUrl({ bucket: "acme", endpoint, ...place });
  assert.equal(oss(null), "https://acme.oss-cn-beijing.aliyuncs.com");
  const internal = "https://oss-cn-beijing-internal.aliyuncs.com/";
  assert.equal(oss(internal), "https://acme.oss-cn-beijing-internal.aliyuncs.com");
  assert.equal(oss("http://127.0.0.1:8123"), "http://127.0.0.1:8123/acme");
  assert.equal(oss("http://[::1]:8123/"), "http://[::1]:8123/acme");
});
