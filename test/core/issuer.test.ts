import assert from "node:assert/strict";
import { test } from "node:test";
import { discoveryUrl, keySetUrl, opensMore } from "../../lib/core/issuer.ts";

test("discoveryUrl() appends the well-known path, with one slash between", () => {
  const path = "/.well-known/openid-configuration";
  for (const [issuer, url] of [
    ["https://oidc.eks.eu-west-1.amazonaws.com/id/AB12", "/id/AB12"],
    ["https://eastus.oic.prod-aks.azure.com/tenant/cluster/", "/tenant/cluster"],
    ["https://issuer.example", ""],
    ["https://issuer.example/", ""],
  ] as const) {
    assert.equal(discoveryUrl(issuer).href, new URL(issuer).origin + url + path);
  }
  assert.equal(discoveryUrl("http://127.0.0.1:8080").port, "8080", "this machine");
});

test("discoveryUrl() asks https only, and nothing with a password, query or fragment", () => {
  for (const issuer of [
    "kubernetes/serviceaccount",
    "",
    "http://issuer.example",
    "http://169.254.169.254",
    "http://127.0.0.1.example",
    "http://localhost.example",
    "file:///etc/passwd",
    "ftp://issuer.example",
    "https://user:canary@issuer.example",
    "https://canary@issuer.example",
    "https://issuer.example/?a=b",
    "https://issuer.example/#a",
    "https://issuer.example/?",
  ]) {
    assert.throws(() => discoveryUrl(issuer), RangeError, issuer);
  }
});

test("keySetUrl() follows to other hosts of the internet over https", () => {
  const issuer = "https://issuer.example/id/1";
  for (const url of [
    "https://issuer.example/id/1/keys",
    "https://issuer.example:8443/keys",
    "https://www.googleapis.example/oauth2/v3/certs",
    "https://8.8.8.8/keys",
    "https://[2606:4700::1111]/keys",
  ]) {
    assert.equal(keySetUrl(url, issuer).href, url);
  }
});

test("keySetUrl() never follows to this machine, a private network or metadata, in any spelling", () => {
  const issuer = "https://issuer.example/id/1";
  for (const url of [
    "http://issuer.example/keys",
    "http://127.0.0.1/keys",
    "https://127.0.0.1/keys",
    "https://2130706433/keys",
    "https://0x7f.1/keys",
    "https://127.0.0.1./keys",
    "https://localhost/keys",
    "https://a.localhost./keys",
    "https://10.0.0.1/keys",
    "https://192.168.1.1/keys",
    "https://172.18.0.2:6443/openid/v1/jwks",
    "https://100.100.100.200/latest/meta-data",
    "https://169.254.169.254/latest/meta-data",
    "http://169.254.169.254/latest/meta-data",
    "https://0.0.0.0/",
    "https://[::1]/",
    "https://[fd00:ec2::254]/latest",
    "https://[fe80::1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:169.254.169.254]/",
    "file:///etc/passwd",
    "https://user:canary@issuer.example/keys",
    "/keys",
    "",
  ]) {
    assert.throws(() => keySetUrl(url, issuer), RangeError, url);
  }
});

test("keySetUrl() follows to where the issuer itself is", () => {
  assert.equal(keySetUrl("https://10.0.0.1:6443/jwks", "https://10.0.0.1:6443").port, "6443");
  assert.equal(keySetUrl("http://127.0.0.1:1/jwks", "http://127.0.0.1:2").port, "1");
  assert.throws(() => keySetUrl("https://10.0.0.2/jwks", "https://10.0.0.1"), RangeError);
  assert.throws(() => keySetUrl("http://127.0.0.1/jwks", "https://127.0.0.1"), RangeError);
});

test("opensMore() knows the audiences of API servers and clouds", () => {
  const issuer = "https://oidc.example/id/eu";
  const server = "https://api.cluster.example:443";
  for (const audience of [
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc/",
    "https://kubernetes.default.svc:443",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes",
    "k3s",
    "sts.amazonaws.com",
    "sts.aliyuncs.com",
    issuer,
    `${issuer}/`,
    "https://api.cluster.example",
    "https://api.cluster.example/",
    "https://api.cluster.example:8443",
    "https://API.cluster.example.:6443/",
    "https://kubernetes.default.svc:6443",
    "https://kubernetes.default.svc.cluster.local:6443/",
    "https://kubernetes.default.svc.cluster.local.",
    "https://KUBERNETES.default.svc",
    "pods.eks.amazonaws.com",
    "https://sts.amazonaws.com",
    "sts.amazonaws.com.cn",
    "api://AzureADTokenExchange",
    "api://azureadtokenexchange",
    "acme-prod.svc.id.goog",
    "acme-prod.svc.id.goog/",
    "example.com:acme-prod.svc.id.goog",
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
    "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
  ]) {
    assert(opensMore(audience, { issuer, server }), audience);
  }
  for (const audience of [
    "https://hook.example",
    "https://kubernetes.default.example",
    "https://oidc.example",
    "https://hook.api.cluster.example:8443",
    "https://hook.example/iam.googleapis.com",
    "https://iam.googleapis.com.hook.example/",
    "svc.id.goog.hook.example",
    "https://sts.amazonaws.com.hook.example",
    "kube-allowlist",
    "k3s-hook",
  ]) {
    assert(!opensMore(audience, { issuer, server }), audience);
  }
});
