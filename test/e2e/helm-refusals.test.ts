import assert from "node:assert/strict";
import { test } from "node:test";
import { opensMore } from "../../lib/core/issuer.ts";
import type { Values } from "../chart.ts";
import { skipWithout } from "./assets.ts";
import { HELM, tryTemplate } from "./helm.ts";
import { LEAST, WHOLE, withReceiver } from "./helm-sets.ts";

/*
 * What Helm refuses, and what people are told then.
 */

const skip = skipWithout(HELM);

// What the schema says, as people see it.
const REFUSED: readonly (readonly [what: string, values: Values, says: RegExp])[] = [
  ["a typing error", { gate: { tmeout: "5m" } }, /'\/gate': additional properties 'tmeout' not/],
  ["a number for a text", { heartbeat: 5 }, /'\/heartbeat': got number, want string/],
  ["a name in capitals", { cluster: "Prod" }, /'\/cluster': 'Prod' does not match pattern/],
  ["an unknown mode", { gate: { mode: "shut" } }, /'\/gate\/mode': value must be one of 'taint'/],
  [
    "a typing error in a list of the receiver",
    withReceiver({ config: { lists: { "payments-db": { removal: { polcy: "sync" } } } } }),
    /payments-db\/removal': additional properties 'polcy' not allowed/,
  ],
  [
    "a receiver without configuration",
    { receiver: { enabled: true } },
    /'\/receiver\/config': missing properties 'installation', 'clusters', 'lists'/,
  ],
];

for (const [what, values, says] of REFUSED) {
  test(`helm refuses ${what} with its path`, { skip }, async () => {
    const { code, stderr } = await tryTemplate({ ...LEAST, ...values });
    assert.equal(code, 1);
    assert.match(stderr, says);
  });
}

const OWN = WHOLE.receiver as Values;

// What belongs together: each sentence by its beginning.
const TOGETHER: readonly (readonly [values: Values, ...says: string[]])[] = [
  [{}, "cluster: Cannot deliver without", "url: Cannot deliver anywhere"],
  [{ ...LEAST, url: "http://hook.example" }, "url: Cannot deliver to hook.example over http"],
  [{ ...LEAST, heartbeat: "9s" }, "heartbeat: Cannot take 9s"],
  [{ ...LEAST, heartbeat: "11m" }, "heartbeat: Cannot take 11m"],
  [{ ...LEAST, auth: { method: "signature" } }, "auth.signature.existingSecret: Cannot sign"],
  [{ ...LEAST, auth: { method: "both" } }, "auth.signature.existingSecret: Cannot sign"],
  [{ ...LEAST, gate: { enabled: true, timeout: "59s" } }, "gate.timeout: Cannot take 59s"],
  [{ ...LEAST, gate: { enabled: true, timeout: "25h" } }, "gate.timeout: Cannot take 25h"],
  [
    { ...LEAST, forwarder: { serviceAccount: { create: false } } },
    "forwarder.serviceAccount.name: Cannot run",
  ],
  ...[true, false].map(
    (create) =>
      [
        {
          ...LEAST,
          gate: { enabled: true },
          forwarder: { serviceAccount: { create, name: "default" } },
        },
        "forwarder.serviceAccount.name: Cannot run",
      ] as const,
  ),
  [
    withReceiver({ serviceAccount: { name: "default" } }),
    "receiver.serviceAccount.name: Cannot run",
  ],
  [
    { ...WHOLE, forwarder: { name: "receiver" }, receiver: { ...OWN, name: "receiver" } },
    "receiver.name: Cannot call forwarder and receiver receiver both",
  ],
  [
    {
      ...WHOLE,
      forwarder: { serviceAccount: { name: "one" } },
      receiver: { ...OWN, serviceAccount: { create: false, name: "one" } },
    },
    "receiver.serviceAccount.name: Cannot run under the forwarder's account one",
  ],
  ...["https://kubernetes.default.svc", "Kubernetes.default.svc.cluster.local/", "k3s"].map(
    (audience) =>
      [
        { ...LEAST, auth: { token: { audience } } },
        `auth.token.audience: Cannot use ${audience}: tokens for it open`,
      ] as const,
  ),
  [
    {
      ...LEAST,
      commonLabels: { "app.kubernetes.io/instance": "x", "helm.sh/chart": "y", team: "net" },
      forwarder: { podLabels: { "app.kubernetes.io/component": "receiver" } },
      receiver: { podLabels: { "app.kubernetes.io/name": "x" } },
    },
    "commonLabels: Cannot set app.kubernetes.io/instance, helm.sh/chart: the chart does",
    "forwarder.podLabels: Cannot set app.kubernetes.io/component",
    "receiver.podLabels: Cannot set app.kubernetes.io/name",
  ],
  [
    { ...LEAST, forwarder: { proxy: { httpProxy: "http://a:1", existingSecret: "b" } } },
    "forwarder.proxy: Cannot take",
  ],
  [{ forwarder: { enabled: false } }, "forwarder.enabled: Cannot install nothing"],
  [
    { ...WHOLE, forwarder: { enabled: false }, gate: { enabled: true } },
    "gate.enabled: Cannot keep a gate",
  ],
  [{ ...WHOLE, cluster: "prod-us" }, 'receiver.config.clusters: Cannot find "prod-us"'],
  [{ ...WHOLE, auth: { method: "token" } }, "receiver.config.clusters.prod-eu.auth: Cannot tell"],
  [withReceiver({ replicas: 2 }), 'receiver.replicas: Cannot share the store "file"'],
  [
    withReceiver({ config: { store: { kind: "file", path: "/data" } } }),
    'receiver.config.store.path: Cannot keep the store in "/data"',
  ],
  [withReceiver({ resync: "2h" }), "receiver.resync: Cannot take 2h"],
  [withReceiver({ ingress: { enabled: true } }), "receiver.ingress.hosts: Cannot let"],
  [withReceiver({ serviceAccount: { create: false } }), "receiver.serviceAccount.name: Cannot run"],
  [
    withReceiver({
      config: { clusters: { "prod-eu": { auth: { signature: { keys: ["env:KEY"] } } } } },
    }),
    "auth.signature.existingSecret: Cannot make a key",
  ],
];

for (const [values, ...says] of TOGETHER) {
  test(`helm refuses what does not fit together: ${says.join(", ")}`, { skip }, async () => {
    const { code, stderr } = await tryTemplate(values);
    assert.equal(code, 1);
    const lines = stderr.split("\n").filter((line) => /^[a-z][A-Za-z.-]+: Cannot/.test(line));
    assert.equal(lines.length, says.length, stderr);
    for (const [index, sentence] of says.entries()) {
      assert.ok(lines[index]?.startsWith(sentence), lines[index]);
    }
  });
}

test("helm refuses the gate's rights without its policy where Kubernetes knows none", {
  skip,
}, async () => {
  const gate = { ...LEAST, gate: { enabled: true } };
  const { code, stderr } = await tryTemplate(gate, { kubeVersion: "1.29.9-eks-1" });
  assert.equal(code, 1);
  assert.match(stderr, /gate.policy.enabled: Cannot have an admission policy/);
  assert.equal((await tryTemplate(LEAST, { kubeVersion: "1.29.9-eks-1" })).code, 0);
  assert.equal((await tryTemplate(gate, { kubeVersion: "1.30.0-eks-1" })).code, 0);
});

test("helm refuses the audiences that the programs refuse, and takes those that they take", {
  skip,
}, async () => {
  const audiences = [
    "https://kubernetes.default.svc",
    "kubernetes",
    "https://kubernetes.default:443",
    "kubernetes.default.svc.acme.local",
    "rke2",
    "sts.amazonaws.com",
    "https://STS.amazonaws.com.cn/",
    "pods.eks.amazonaws.com",
    "sts.aliyuncs.com",
    "api://AzureADTokenExchange",
    "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b",
    "//iam.googleapis.com/projects/1",
    "acme.svc.id.goog",
    "https://acme.svc.id.goog",
    "https://hook.example",
    "https://kubernetes.example",
    "https://sts.amazonaws.com.example",
    "acme.svc.id.goog.example",
    "null",
  ];
  const known = { issuer: "https://oidc.example", server: null };
  assert.ok(audiences.some((audience) => !opensMore(audience, known)));
  for (const audience of audiences) {
    const { code } = await tryTemplate({ ...LEAST, auth: { token: { audience } } });
    assert.equal(code, opensMore(audience, known) ? 1 : 0, audience);
  }
});
