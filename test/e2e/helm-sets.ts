import { overlay, type Values, valueSets } from "../chart.ts";

/*
 * Sets of values for the chart: the product of what is chosen most often, and everything else once.
 */

/** The least that a forwarder needs. */
export const LEAST: Values = { cluster: "prod-eu", url: "https://hook.example/v1/snapshots" };

/** Forwarder and receiver, as the chart shows it. */
export const WHOLE: Values = valueSets().get("whole-values.yaml") ?? {};

/** The same, with other values of the receiver. */
export function withReceiver(more: Values): Values {
  return overlay(WHOLE, { receiver: more }) as Values;
}

// Each dimension on its own; the product of all of them is what is asked.
const DIMENSIONS: Readonly<Record<string, Readonly<Record<string, Values>>>> = {
  receiver: {
    elsewhere: LEAST,
    file: WHOLE,
    s3: withReceiver({ replicas: 2, config: { store: { kind: "s3", bucket: "acme-allowlist" } } }),
  },
  gate: {
    off: {},
    taint: { gate: { enabled: true } },
    condition: { gate: { enabled: true, mode: "condition", timeout: "never" } },
  },
  pods: {
    none: {},
    some: {
      pods: [
        { namespace: "pay", labels: { app: "api", tier: "web" } },
        { namespace: "pay", labels: { app: "job" } },
        { namespace: "ops" },
      ],
    },
  },
  metrics: {
    unread: {},
    read: { forwarder: { serviceMonitor: { enabled: true, interval: "30s", labels: { a: "b" } } } },
  },
  policies: {
    on: {},
    off: {
      forwarder: { networkPolicy: { enabled: false }, podDisruptionBudget: { enabled: false } },
      receiver: { networkPolicy: { enabled: false } },
    },
  },
};

/** Every combination of the dimensions, by its name. */
export function product(): readonly (readonly [name: string, values: Values])[] {
  let all: readonly (readonly [string, Values])[] = [["", {}]];
  for (const [dimension, choices] of Object.entries(DIMENSIONS)) {
    all = all.flatMap(([name, values]) =>
      Object.entries(choices).map(
        ([choice, more]) =>
          [`${name} ${dimension}=${choice}`.trim(), overlay(values, more) as Values] as const,
      ),
    );
  }
  return all;
}

const SELECTOR = { podSelector: { matchLabels: { app: "ingress" } } };

/** What the product has not: every value at least once at something else than its default. */
export const RARELY: Readonly<Record<string, Values>> = {
  "all of the forwarder": {
    ...LEAST,
    nameOverride: "allow",
    fullnameOverride: "allow",
    commonLabels: { team: "net" },
    imagePullSecrets: [{ name: "pull" }],
    image: { digest: `sha256:${"a".repeat(64)}`, pullPolicy: "Always" },
    auth: {
      method: "both",
      token: { audience: "https://allowlist.example" },
      signature: { existingSecret: "s" },
    },
    caBundle: { configMap: "authority", key: "own.pem" },
    gate: { enabled: true, key: "acme.example/starting", policy: { enabled: false } },
    heartbeat: "90s",
    logLevel: "debug",
    labels: ["pool", "topology.kubernetes.io/zone"],
    forwarder: {
      name: "sender",
      replicas: 1,
      lease: "own",
      serviceAccount: { name: "sender-account", annotations: { a: "b" } },
      proxy: { httpsProxy: "http://proxy:3128", noProxy: "10.0.0.0/8,.svc" },
      nodeOptions: "",
      env: [{ name: "A", value: "b" }],
      resources: { limits: { memory: "1Gi" } },
      priorityClassName: "",
      tolerations: [{ operator: "Exists" }],
      nodeSelector: { "kubernetes.io/os": "linux" },
      affinity: { nodeAffinity: {} },
      topologySpreadConstraints: [
        { maxSkew: 1, topologyKey: "x", whenUnsatisfiable: "ScheduleAnyway", labelSelector: {} },
      ],
      dnsPolicy: "None",
      dnsConfig: { nameservers: ["10.0.0.10"] },
      podAnnotations: { a: "b" },
      podLabels: { c: "d" },
      port: 9090,
      networkPolicy: { ports: [443], from: [SELECTOR], egress: [{ to: [SELECTOR] }] },
    },
  },
  "an account of somebody else's, and proxies from a Secret": {
    ...LEAST,
    forwarder: {
      serviceAccount: { create: false, name: "theirs" },
      proxy: { existingSecret: "proxies" },
    },
  },
  "all of the receiver": overlay(WHOLE, {
    auth: { signature: { existingSecret: "allowlist-signature", key: "whsec" } },
    caBundle: { configMap: "authority" },
    gate: { enabled: true },
    receiver: {
      name: "hook",
      resync: "30s",
      host: "0.0.0.0",
      port: 9000,
      existingSecrets: ["a", "b"],
      env: [{ name: "A", valueFrom: { secretKeyRef: { name: "a", key: "b" } } }],
      extraVolumes: [{ name: "keys", secret: { secretName: "keys" } }],
      extraVolumeMounts: [{ name: "keys", mountPath: "/keys" }],
      persistence: {
        storageClassName: "fast",
        size: "5Gi",
        accessModes: ["ReadWriteOncePod"],
        annotations: { "helm.sh/resource-policy": "keep" },
      },
      serviceAccount: {
        annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/a" },
      },
      service: { clusterIP: "10.0.0.50", port: 8080, annotations: { a: "b" } },
      ingress: {
        enabled: true,
        className: "nginx",
        hosts: ["hook.example"],
        tls: [{ secretName: "t", hosts: ["hook.example"] }],
        annotations: { a: "b" },
      },
      tolerations: [{ operator: "Exists" }],
      nodeSelector: { a: "b" },
      affinity: { nodeAffinity: {} },
      podAnnotations: { a: "b" },
      podLabels: { c: "d" },
      networkPolicy: { ports: [443, 9000], from: [SELECTOR], egress: [{ to: [SELECTOR] }] },
      priorityClassName: "",
      dnsPolicy: "ClusterFirst",
    },
  }) as Values,
  "names that look like numbers and nothing": overlay(WHOLE, {
    nameOverride: "0",
    fullnameOverride: "null",
    auth: { method: "both", token: { audience: "~" }, signature: { existingSecret: "1e3" } },
    caBundle: { configMap: "12" },
    gate: { enabled: true },
    forwarder: { name: "123", lease: "1", serviceAccount: { name: "true" } },
    receiver: {
      name: "off",
      existingSecrets: ["7"],
      serviceAccount: { name: "0x1f" },
      config: { clusters: { "prod-eu": { auth: { signature: { keys: ["env:KEY"] } } } } },
    },
  }) as Values,
  "a claim of somebody else's": withReceiver({ persistence: { existingClaim: "theirs" } }),
  "no volume": withReceiver({ persistence: { enabled: false } }),
  "a memory store": withReceiver({ config: { store: { kind: "memory" } } }),
  "a receiver for everybody": withReceiver({ service: { type: "LoadBalancer" } }),
  "the receiver alone": {
    ...(overlay(WHOLE, {
      receiver: { config: { clusters: { "prod-eu": { retired: true } } } },
    }) as Values),
    forwarder: { enabled: false },
    cluster: "",
  },
  "tokens within the cluster": overlay(WHOLE, {
    auth: { method: "token", token: { audience: "https://allowlist.example" } },
    receiver: {
      config: {
        clusters: {
          "prod-eu": {
            auth: {
              serviceAccount: {
                issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF",
                audience: "https://allowlist.example",
                subject: "system:serviceaccount:kube-allowlist:forwarder",
                jwks: "discover",
              },
            },
          },
        },
      },
    },
  }) as Values,
};
