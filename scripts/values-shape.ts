import * as z from "zod/mini";
import { LABELS_MAX, SCOPE_PODS_MAX } from "../lib/core/snapshot.ts";

/*
 * What the values of the Helm chart may be. What belongs together is checked by the chart's own
 * template, whose sentences are better than a schema's.
 */

/** Stands where the receiver's configuration takes its place, with a schema of its own. */
export const CONFIG_MARK = "kube-allowlist:config";

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const OBJECT = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const LABEL_KEY =
  /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
const TAINT_KEY =
  /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const CLUSTER = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;
const DURATION = /^[1-9][0-9]{0,5}[smh]$/;
const TIMEOUT = /^(never|[1-9][0-9]{0,5}[smh])$/;
/** Without a user: a password would be a secret among the values. */
const URL_TEXT = /^https?:\/\/[^@/?#\s]+([/?][^#\s]*)?$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
const FILE = /^[A-Za-z0-9._-]{1,253}$/;
const VISIBLE = /^[\x21-\x7e]*$/;
const QUANTITY = /^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$/;
const ADDRESS = /^[0-9a-fA-F.:]+$/;
const TOKEN_S_MIN = 600;
const TOKEN_S_MAX = 86_400;
const REPLICAS_MAX = 10;
const PORT_MIN = 1_024;
const PORT_MAX = 65_535;

const text = (pattern: RegExp) => z.string().check(z.regex(pattern));
/** Empty is "as usual". */
const optional = (pattern: RegExp) => text(new RegExp(`^$|${pattern.source}`));
const objects = z.array(z.looseObject({}));
const object = z.looseObject({});
const texts = z.record(z.string(), z.string());
const port = z.number().check(z.int(), z.minimum(1), z.maximum(PORT_MAX));
/** One that an account without privileges may listen on. */
const ownPort = z.number().check(z.int(), z.minimum(PORT_MIN), z.maximum(PORT_MAX));
const replicas = z.number().check(z.int(), z.minimum(1), z.maximum(REPLICAS_MAX));
const labels = z.record(text(LABEL_KEY), text(LABEL_VALUE));

const variables = z.array(
  z.strictObject({
    name: text(VARIABLE),
    value: z.optional(z.string()),
    valueFrom: z.optional(object),
  }),
);

const account = z.strictObject({
  create: z.boolean(),
  name: optional(OBJECT),
  annotations: texts,
});

/** What both programs' pods can be told. */
const pod = {
  name: optional(NAME),
  serviceAccount: account,
  env: variables,
  resources: z.strictObject({
    requests: z.optional(object),
    limits: z.optional(object),
    claims: z.optional(objects),
  }),
  priorityClassName: optional(OBJECT),
  tolerations: objects,
  nodeSelector: labels,
  affinity: object,
  podAnnotations: texts,
  podLabels: labels,
  networkPolicy: z.strictObject({
    enabled: z.boolean(),
    ports: z.array(port),
    from: objects,
    egress: objects,
  }),
};

const DNS_POLICIES = ["Default", "ClusterFirst", "None"] as const;

const forwarder = z.strictObject({
  ...pod,
  enabled: z.boolean(),
  replicas,
  lease: optional(OBJECT),
  proxy: z.strictObject({
    httpsProxy: optional(URL_TEXT),
    httpProxy: optional(URL_TEXT),
    noProxy: text(VISIBLE),
    existingSecret: optional(OBJECT),
  }),
  nodeOptions: z.string(),
  topologySpreadConstraints: objects,
  dnsPolicy: z.enum(["", ...DNS_POLICIES]),
  dnsConfig: object,
  port: ownPort,
  podDisruptionBudget: z.strictObject({ enabled: z.boolean() }),
  serviceMonitor: z.strictObject({
    enabled: z.boolean(),
    labels,
    interval: optional(DURATION),
  }),
});

const receiver = z.strictObject({
  ...pod,
  enabled: z.boolean(),
  config: z.looseObject({}).check(z.describe(CONFIG_MARK)),
  replicas,
  resync: text(DURATION),
  host: text(ADDRESS),
  port: ownPort,
  existingSecrets: z.array(text(OBJECT)),
  extraVolumes: objects,
  extraVolumeMounts: objects,
  persistence: z.strictObject({
    enabled: z.boolean(),
    existingClaim: optional(OBJECT),
    size: text(QUANTITY),
    storageClassName: optional(OBJECT),
    accessModes: z
      .array(z.enum(["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]))
      .check(z.minLength(1)),
    annotations: texts,
  }),
  service: z.strictObject({
    type: z.enum(["ClusterIP", "NodePort", "LoadBalancer"]),
    port,
    clusterIP: optional(ADDRESS),
    annotations: texts,
  }),
  ingress: z.strictObject({
    enabled: z.boolean(),
    className: optional(OBJECT),
    annotations: texts,
    hosts: z.array(text(OBJECT)),
    tls: objects,
  }),
  dnsPolicy: z.enum(DNS_POLICIES),
});

/** All values, as `values.yaml` has them; a name that is not here is a mistake. */
export const valuesShape = z.strictObject({
  // Helm hands this to every chart within another one, and so do people who switch it on there.
  global: z.optional(object),
  enabled: z.optional(z.boolean()),
  nameOverride: optional(NAME),
  fullnameOverride: optional(NAME),
  commonLabels: labels,
  imagePullSecrets: z.array(z.strictObject({ name: text(OBJECT) })),
  image: z.strictObject({
    repository: z.string().check(z.regex(/^[a-z0-9][a-z0-9.:/_-]*$/)),
    tag: optional(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/),
    digest: optional(DIGEST),
    pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]),
  }),
  cluster: optional(CLUSTER),
  url: optional(URL_TEXT),
  labels: z.array(text(LABEL_KEY)).check(z.maxLength(LABELS_MAX)),
  pods: z
    .array(z.strictObject({ namespace: text(NAME), labels: z.optional(labels) }))
    .check(z.maxLength(SCOPE_PODS_MAX)),
  heartbeat: text(DURATION),
  logLevel: z.enum(["debug", "info", "warn", "error"]),
  auth: z.strictObject({
    method: z.enum(["", "token", "signature", "both"]),
    token: z.strictObject({
      audience: text(VISIBLE),
      expirationSeconds: z.number().check(z.int(), z.minimum(TOKEN_S_MIN), z.maximum(TOKEN_S_MAX)),
    }),
    signature: z.strictObject({ existingSecret: optional(OBJECT), key: text(FILE) }),
  }),
  gate: z.strictObject({
    enabled: z.boolean(),
    mode: z.enum(["taint", "condition"]),
    key: optional(TAINT_KEY),
    timeout: text(TIMEOUT),
    policy: z.strictObject({ enabled: z.boolean() }),
  }),
  caBundle: z.strictObject({ configMap: optional(OBJECT), key: text(FILE) }),
  forwarder,
  receiver,
});
